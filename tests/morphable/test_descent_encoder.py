import pytest
import torch

from diffrig_emo.morphable import SyntheticHead
from diffrig_emo.morphable.descent_encoder import DescentEncoder, OrientedGradients
from diffrig_emo.morphable.descent_fit import fit_descent
from diffrig_emo.structures import FaceCodes, FaceCrop, StructError
from diffrig_emo.synthesis import SyntheticFaces


@pytest.fixture(scope="module")
def faces():
    batch = next(SyntheticFaces(160, 32, seed=5).batches(160))
    return (batch["image"] * 255).round().to(torch.uint8), batch["codes"]


def r2(predicted, true):
    return float(1 - (predicted - true).square().sum() / (true - true.mean(0)).square().sum())


@pytest.mark.parametrize("features", [None, OrientedGradients()], ids=["colours", "gradients"])
def test_it_learns_pose_from_a_handful_of_faces_and_looking_again_helps(faces, features):
    images, codes = faces
    errors = []
    for n_stages, ridge in ((0, 0.02), (2, 0.3)):
        encoder = DescentEncoder(
            SyntheticHead(), image_size=32, features=features, n_points=80, n_stages=n_stages, coarse_size=8
        )
        fit_descent(encoder, images[:128], codes[:128], ridge=ridge)
        with torch.no_grad():
            read = encoder(FaceCrop(image=images[128:].float() / 255))
        errors.append(1 - r2(read.global_rotation, codes.global_rotation[128:]))
    assert errors[0] < 0.55
    assert errors[1] < 0.7 * errors[0]


def test_the_first_map_is_ridge_regression_by_least_squares_in_float64(faces):
    images, codes = faces
    encoder = DescentEncoder(SyntheticHead(), image_size=32, n_points=10, n_stages=0, coarse_size=4)
    fit_descent(encoder, images, codes, ridge=0.05)
    small = encoder.look_whole(images.float() / 255).double()
    rows = encoder.code_vector.pack(codes).double()
    small, rows = small - small.mean(0), rows - rows.mean(0)
    penalty = (0.05 * len(images)) ** 0.5 * torch.eye(small.shape[1], dtype=torch.float64)
    stacked = torch.cat([small, penalty]), torch.cat([rows, torch.zeros(small.shape[1], rows.shape[1])])
    expected = torch.linalg.lstsq(*stacked).solution.T
    torch.testing.assert_close(encoder.first.weight.double(), expected, atol=2e-4, rtol=1e-3)


def test_gradients_reach_the_picture(faces):
    images, codes = faces
    encoder = DescentEncoder(SyntheticHead(), image_size=32, n_points=40, n_stages=1, coarse_size=8)
    fit_descent(encoder, images, codes)
    picture = (images[:2].float() / 255).requires_grad_()
    encoder(FaceCrop(image=picture)).shape.sum().backward()
    assert picture.grad.abs().sum() > 0


def test_vertices_sampled_face_the_camera_and_travel_with_the_weights():
    head = SyntheticHead()
    encoder = DescentEncoder(head, n_points=200, n_stages=0)
    assert len(encoder.points.unique()) == 200
    neutral = FaceCodes.zeros(1, n_shape=head.n_shape, n_tex=30, n_exp=head.n_exp, space=head.space)
    vertices = head(neutral).vertices[0]
    assert vertices[encoder.points, 2].mean() > vertices[:, 2].mean()
    assert "points" in encoder.state_dict()


def test_oriented_gradients_of_a_slope():
    slope = torch.linspace(0, 1, 16).expand(1, 3, 16, 16)
    maps = OrientedGradients(smoothing=1)(slope)[0, :, 4:-4, 4:-4]
    assert maps[0].mean() > 4 * maps[1].mean()  # across, and not along
    torch.testing.assert_close(maps[0], torch.full_like(maps[0], 2 / 15))
    assert not maps[4].any()  # nothing falls


def test_bad_sizes_are_refused():
    encoder = DescentEncoder(SyntheticHead(), image_size=32, n_points=10, n_stages=0)
    with pytest.raises(StructError, match="32 x 32"):
        encoder(FaceCrop(image=torch.rand(1, 3, 64, 64)))
    with pytest.raises(ValueError, match="at least 4 pictures"):
        fit_descent(encoder, torch.zeros(2, 3, 32, 32, dtype=torch.uint8), SyntheticFaces(2, 32).codes())
    with pytest.raises(ValueError, match="n_points"):
        DescentEncoder(SyntheticHead(), n_points=0)
    with pytest.raises(ValueError, match="n_points must be at most"):
        DescentEncoder(SyntheticHead(), n_points=100_000)
    with pytest.raises(ValueError, match="odd"):
        OrientedGradients(smoothing=2)
