import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from skimage import data
from skimage.transform import AffineTransform, warp

from diffrig_emo.transforms.alignment import align_ffhq, ffhq_quad, is_ffhq_aligned, paste_aligned, paste_difference

FAST = 1024
"""Side of the first sampling in most tests; the pictures differ by one level of 255 at most."""


def face(centre=(223.0, 130.0), size=40.0, angle=0.0):
    """Landmarks whose eyes and mouth make a face; the others lie between."""
    points = np.zeros((68, 2))
    points[36:42], points[42:48] = (-0.5, -0.4), (0.5, -0.4)
    points[48], points[54] = (-0.4, 0.7), (0.4, 0.7)
    turn = Rotation.from_rotvec([0, 0, angle]).as_matrix()[:2, :2]
    return torch.from_numpy(points @ turn.T * size + np.array(centre)).float()


@pytest.fixture(scope="module")
def astronaut():
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255


def psnr(a, b):
    return -10 * math.log10(float((a - b).square().mean()))


@pytest.mark.parametrize("angle", [0.0, 0.4, -1.0])
def test_the_square_turns_with_the_face(angle):
    middle = torch.tensor([223.0, 130.0])
    upright, turned = ffhq_quad(face()) - middle, ffhq_quad(face(angle=angle)) - middle
    matrix = torch.from_numpy(Rotation.from_rotvec([0, 0, angle]).as_matrix()[:2, :2].copy())
    torch.testing.assert_close(turned, upright @ matrix.T, atol=1e-4, rtol=0)
    sides = torch.linalg.vector_norm(turned - turned.roll(-1, 0), dim=1)
    torch.testing.assert_close(sides, sides[:1].expand(4))
    # eyes 1 apart decide, for the mouth is but 1.1 below them: half the side is max(2 * 1, 1.8 * 1.1)
    torch.testing.assert_close(sides[0].item(), 2 * 2.0 * 40, atol=1e-3, rtol=0)


def test_the_map_is_that_of_the_pixels(astronaut):
    """Where the face is not shrunk, the picture is the photo, sampled by the map."""
    tform, aligned = align_ffhq(astronaut, face(angle=0.3), 128, FAST)
    expected = warp(
        data.astronaut() / 255, AffineTransform(np.linalg.inv(tform.double().numpy())), output_shape=(128,) * 2
    )
    away = aligned - torch.from_numpy(expected).permute(2, 0, 1).float()
    assert away.abs().mean() < 1.5 / 255
    shifted = aligned[:, :, 1:] - torch.from_numpy(expected).permute(2, 0, 1).float()[:, :, :-1]
    assert shifted.abs().mean() > 4 * away.abs().mean()


def test_the_map_takes_the_corners_of_the_square_to_those_of_the_picture():
    photo = torch.rand(3, 300, 400, generator=torch.Generator().manual_seed(0))
    for size in (200, 32):  # the latter shrinks the photo first
        landmarks = face((200.0, 150.0), 40, 0.2)
        tform, _ = align_ffhq(photo, landmarks, size, FAST)
        corners = ffhq_quad(landmarks).float() @ tform[:2, :2].T + tform[:2, 2]
        wanted = torch.tensor([[0, 0], [0, 1], [1, 1], [1, 0]]) * size - 0.5
        torch.testing.assert_close(corners, wanted, atol=1e-3 if size == 200 else 0.3, rtol=0)


def test_a_coarser_first_sampling_differs_by_one_level_at_most(astronaut):
    published, fast = (align_ffhq(astronaut, face(angle=0.1), 256, side)[1] for side in (4096, 1024))
    assert ((published - fast) * 255).abs().max().round() <= 1


def test_a_large_photo_gives_the_same_picture(astronaut):
    large = torch.nn.functional.interpolate(astronaut[None], scale_factor=4, mode="bilinear")[0]
    _, small_picture = align_ffhq(astronaut, face(), 64, FAST)
    tform, picture = align_ffhq(large, face() * 4 + 1.5, 64, FAST)
    assert psnr(picture, small_picture) > 30
    assert torch.linalg.det(tform[:2, :2]).sqrt() == pytest.approx(64 / (4 * 160), rel=1e-2)


def test_what_lies_outside_the_photo_is_reflected_and_faded():
    photo = torch.zeros(3, 200, 200)
    photo[0] = 0.8
    photo[1] = torch.linspace(0, 1, 200)
    tform, aligned = align_ffhq(photo, face((40.0, 100.0), 40), 128, FAST)
    assert (tform @ torch.tensor([-0.5, 100.0, 1.0]))[0] > 20, "the face is cut by the border"
    assert (aligned[0] * 255).round().unique().tolist() == [204.0]
    assert aligned[1].min() < aligned[1, 64, 0] < aligned[1].max(), "the far end fades to the median"


@pytest.mark.parametrize(("centre", "zoom"), [((223.0, 130.0), 1), ((223.0, 130.0), 3), ((40.0, 60.0), 1)])
@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_pasting_the_unedited_picture_hardly_changes_the_photo(astronaut, centre, zoom, angle):
    photo = torch.nn.functional.interpolate(astronaut[None], scale_factor=zoom, mode="bilinear")[0]
    landmarks = face(centre, angle=angle) * zoom + (zoom - 1) / 2
    tform, aligned = align_ffhq(photo, landmarks, 256, FAST)
    again = paste_aligned(aligned, tform, photo)
    x, y = torch.meshgrid(torch.arange(photo.shape[2]), torch.arange(photo.shape[1]), indexing="xy")
    seen = torch.stack([x, y], -1).float() @ tform[:2, :2].T + tform[:2, 2]
    outside = ((seen < -0.6) | (seen > 255.6)).any(-1)
    assert torch.equal(again[:, outside], photo[:, outside])
    inside = ~outside
    assert psnr(again[:, inside], photo[:, inside]) > 30
    edited = paste_aligned(1 - aligned, tform, photo)
    middle = (seen - 127.5).abs().amax(-1) < 60
    if centre == (223.0, 130.0):  # where the border cuts the face, the edit fades in from there
        assert psnr(edited[:, middle], 1 - photo[:, middle]) > 26
    assert torch.equal(edited[:, outside], photo[:, outside])


def test_the_border_is_soft():
    photo = torch.zeros(3, 100, 100)
    tform = torch.tensor([[1.0, 0, -20], [0, 1.0, -20], [0, 0, 1]])
    row = paste_aligned(torch.ones(3, 60, 60), tform, photo, border=0.25)[0, 50]
    assert (row[:20] == 0).all()
    assert (row[36:64] == 1).all()
    steps = row[20:36].diff()
    assert (steps > 0).all()
    assert steps.max() < 0.12
    beyond = torch.tensor([[1.0, 0, 200], [0, 1.0, 0], [0, 0, 1]])
    assert torch.equal(paste_aligned(torch.ones(3, 60, 60), beyond, photo), photo)


def test_a_picture_that_was_aligned_is_known(astronaut):
    landmarks = face(angle=0.2)
    tform, _ = align_ffhq(astronaut, landmarks, 128, FAST)
    moved = landmarks @ tform[:2, :2].T + tform[:2, 2]
    assert is_ffhq_aligned(moved, (128, 128))
    assert is_ffhq_aligned(moved + 3, (128, 128)), "another detector"
    assert not is_ffhq_aligned(moved, (128, 160))
    assert not is_ffhq_aligned(landmarks, (512, 512))


@pytest.mark.parametrize(
    ("landmarks", "size", "message"),
    [
        (torch.zeros(68, 2), 64, "this is no face"),
        (torch.full((68, 2), float("nan")), 64, "this is no face"),
        (torch.zeros(5, 2), 64, r"shape \(68, 2\)"),
        (face((900.0, 10.0)), 64, "expected a face in the photo of 64x48 pixels"),
        (face((20.0, 20.0)), 8192, "size: expected 1 to transform_size=4096"),
    ],
)
def test_bad_landmarks(landmarks, size, message):
    with pytest.raises(ValueError, match=message):
        align_ffhq(torch.zeros(3, 48, 64), landmarks, size)


def test_bad_paste():
    with pytest.raises(ValueError, match="border: expected"):
        paste_aligned(torch.zeros(3, 4, 4), torch.eye(3), torch.zeros(3, 8, 8), border=0)
    with pytest.raises(ValueError, match="invertible"):
        paste_aligned(torch.zeros(3, 4, 4), torch.zeros(3, 3), torch.zeros(3, 8, 8))


def test_a_difference_leaves_the_fineness_of_the_photo(astronaut):
    photo = torch.from_numpy(np.array(data.astronaut())).permute(2, 0, 1).float() / 255
    tform = torch.tensor([[0.25, 0.02, -20], [-0.02, 0.25, 3], [0, 0, 1]])
    inverse = AffineTransform(np.linalg.inv(tform.numpy().astype(float)))
    small = warp(photo.permute(1, 2, 0).numpy(), inverse, output_shape=(64, 64), order=1)
    small = torch.from_numpy(small).permute(2, 0, 1).float()
    assert torch.equal(paste_difference(small, small, tform, photo), photo), "nothing edited, nothing lost"
    edited = small.clone()
    edited[:, 24:40, 24:40] += 0.1
    pasted = paste_difference(edited, small, tform, photo)
    y, x = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    u, v = (tform[row, 0] * x + tform[row, 1] * y + tform[row, 2] for row in range(2))
    inside = (u > 25) & (u < 38) & (v > 25) & (v < 38)
    outside = (u < 22) | (u > 41) | (v < 22) | (v > 41)
    assert torch.equal(pasted[:, outside], photo[:, outside])
    torch.testing.assert_close(pasted[:, inside], (photo[:, inside] + 0.1).clamp(0, 1), atol=1e-5, rtol=0)
    replaced = paste_aligned(small, tform, photo)
    assert (replaced - photo)[:, inside].abs().mean() > 0.005, "what pasting the picture itself would blur"


def test_a_difference_fades_at_the_squares_edge():
    photo, before = torch.full((3, 40, 40), 0.5), torch.zeros(3, 20, 20)
    there = torch.tensor([[1.0, 0, -10], [0, 1, -10], [0, 0, 1]])
    row = paste_difference(before + 0.4, before, there, photo, border=0.5)[0, 20]
    assert torch.equal(row[:10], photo[0, 0, :10])
    assert (row[10:20].diff() > 0).all()
    with pytest.raises(ValueError, match="expected the size of the picture before"):
        paste_difference(torch.zeros(3, 8, 8), before, there, photo)
