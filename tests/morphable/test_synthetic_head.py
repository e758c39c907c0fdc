from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from diffrig_emo.morphable.base import FaceModel
from diffrig_emo.morphable.flame import FLAME
from diffrig_emo.morphable.synthetic_head import EMOTIONS, SyntheticHead, emotion_preset
from diffrig_emo.morphable.synthetic_head.anatomy import EYE_RADIUS, IRIS_RADIUS
from diffrig_emo.morphable.synthetic_head.geometry import build_geometry
from diffrig_emo.morphable.synthetic_head.rig import joint_positions
from diffrig_emo.morphable.synthetic_head.sculpt import skin_distance
from diffrig_emo.renderer.torch_rasterizer import TorchRasterizer
from diffrig_emo.structures import FaceCodes, MeshTopology, StructError
from diffrig_emo.transforms.projection import project

# Mirror image of the 68 iBUG landmarks.
SWAPPED = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
           45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
           *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]  # fmt: skip


@pytest.fixture(scope="module")
def head() -> SyntheticHead:
    return SyntheticHead()


def make_codes(head: SyntheticHead, batch: int = 1, seed: int | None = None, **changes) -> FaceCodes:
    codes = FaceCodes.zeros(batch, n_shape=head.n_shape, n_tex=4, n_exp=head.n_exp, space=head.space)
    if seed is not None:
        noise = torch.randn(batch, head.n_shape, generator=torch.Generator().manual_seed(seed))
        codes = codes.replace(shape=noise)
    return codes.replace(**changes)


def visible_faces(head: SyntheticHead, vertices: torch.Tensor) -> torch.Tensor:
    screen = project(vertices, torch.tensor([[8.0, 0.0, 0.0]]))
    seen = TorchRasterizer()(screen, head.faces, (256, 256)).pix_to_face
    return seen[seen >= 0].unique()


def test_has_the_interface_of_flame(head):
    assert isinstance(head, FaceModel)
    assert list(inspect.signature(SyntheticHead.forward).parameters) == list(
        inspect.signature(FLAME.forward).parameters
    )
    assert isinstance(head.topology, MeshTopology)
    mesh = head(make_codes(head, batch=2))
    assert mesh.vertices.shape == (2, len(head.mean), 3)
    assert mesh.landmarks2d.shape == mesh.landmarks3d.shape == (2, 68, 3)
    assert mesh.screen is None


def test_size_and_names(head):
    assert 2000 <= len(head.mean) <= 6000
    assert head.n_shape == len(set(head.shape_names)) >= 20
    assert head.n_exp == len(set(head.expression_names)) >= 16
    assert not list(head.state_dict()), "the head is rebuilt from code and stays out of checkpoints"


def test_is_life_sized_and_centred(head):
    top, chin = head.mean[:, 1].max(), head.mean[head.fixed_landmarks[8], 1]
    assert 0.19 < top - chin < 0.24
    width = head.mean[head.regions["skin"], 0].max() * 2
    assert 0.13 < width < 0.17
    assert abs(top + chin) < 0.03


def test_building_again_gives_the_same_head():
    first, again = build_geometry(), build_geometry.__wrapped__()
    assert np.array_equal(first.vertices, again.vertices)
    assert np.array_equal(first.faces, again.faces)


def test_every_edge_is_walked_once_in_each_direction(head):
    edges = torch.cat([head.faces[:, [0, 1]], head.faces[:, [1, 2]], head.faces[:, [2, 0]]])
    assert len(edges.unique(dim=0)) == len(edges)
    backwards = {tuple(edge) for edge in edges.flip(1).tolist()}
    free = torch.tensor([edge for edge in edges.tolist() if tuple(edge) not in backwards])
    # The skin ends only at the neck; parts end where nobody sees them.
    of_skin = torch.isin(free, head.regions["skin"]).all(dim=1)
    assert (head.mean[free[of_skin].flatten(), 1] < -0.2).all()


def test_no_triangle_is_degenerate_and_none_is_unused(head):
    corners = head.mean[head.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    assert area.min() > 1e-10
    assert len(head.faces.unique()) == len(head.mean)


def test_skin_faces_outwards(head):
    faces = head.faces[torch.isin(head.faces, head.regions["skin"]).all(dim=1)]
    corners = head.mean[faces].double().numpy()
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    centre, step = corners.mean(axis=1), 1e-4
    slope = [skin_distance(centre + step * axis) - skin_distance(centre - step * axis) for axis in np.eye(3)]
    assert ((normal * np.stack(slope, -1)).sum(-1) > 0).all()


@pytest.mark.parametrize(("region", "joint"), [("eyes_left", 3), ("eyes_right", 4)])
def test_eyeballs_face_outwards(head, region, joint):
    faces = head.faces[torch.isin(head.faces, head.regions[region]).all(dim=1)]
    corners = head.mean[faces]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((normal * (corners.mean(1) - head.joints[joint])).sum(-1) > 0).all()


def test_mean_head_is_symmetric(head):
    mirror = torch.tensor(build_geometry().mirror)
    assert torch.equal(head.mean[mirror] * torch.tensor([-1.0, 1.0, 1.0]), head.mean)
    assert torch.allclose(head.weights[mirror][:, [0, 1, 2, 4, 3]], head.weights)


def test_skinning_weights_are_a_partition(head):
    assert torch.allclose(head.weights.sum(dim=1), torch.ones(len(head.mean)))
    assert (head.weights >= 0).all()


@pytest.mark.parametrize("name", ["shape_directions", "expression_directions"])
def test_directions_are_linearly_independent(head, name):
    directions = getattr(head, name).flatten(0, 1).double()
    assert directions.norm(dim=0).min() > 0
    unit = directions / directions.norm(dim=0)
    assert torch.linalg.svdvals(unit).min() > 0.05


def test_landmarks_are_symmetric_at_zero_codes(head):
    landmarks = head(make_codes(head)).landmarks3d[0]
    assert torch.allclose(landmarks[SWAPPED] * torch.tensor([-1.0, 1.0, 1.0]), landmarks, atol=1e-6)


def test_landmarks_are_in_the_ibug_order(head):
    p = head(make_codes(head)).landmarks3d[0]
    x, y, z = p.unbind(-1)
    for row in (p[1:16], p[17:27], p[31:36], p[48:55], p[60:65]):
        assert (row[1:, 0] > row[:-1, 0]).all(), "from image left to image right"
    assert (y[:8] > y[1:9]).all(), "the contour falls to the chin"
    assert (y[27:30] > y[28:31]).all(), "the bridge falls to the tip"
    assert p[:, 2].argmax() == 30, "the tip of the nose is foremost"
    assert x[36] < x[39] < 0 < x[42] < x[45]
    for upper, lower in ((37, 41), (38, 40), (43, 47), (44, 46), (51, 57), (62, 66)):
        assert y[upper] > y[lower]
    assert y[17:27].min() > y[36:48].max() > y[27:36].min() > y[48:68].max() > y[8]
    assert (z[48:68] > 0.07).all()


def test_contour_slides_onto_the_far_cheek(head):
    pose = torch.zeros(3, 6)
    pose[:, 1] = torch.deg2rad(torch.tensor([0.0, 30.0, -30.0]))
    mesh = head(make_codes(head, batch=3, pose=pose))
    assert torch.equal(mesh.landmarks2d[0], mesh.landmarks3d[0])
    assert torch.equal(mesh.landmarks2d[:, 17:], mesh.landmarks3d[:, 17:])
    # Positive yaw turns the face to the image right: the right contour slides, the left one stays.
    assert torch.equal(mesh.landmarks2d[1, :9], mesh.landmarks3d[1, :9])
    assert torch.equal(mesh.landmarks2d[2, 8:], mesh.landmarks3d[2, 8:])
    face = mesh.vertices[1, head.regions["face"]]
    for point in mesh.landmarks2d[1, 10:15]:
        level = face[(face[:, 1] - point[1]).abs() < 0.002]
        assert point[0] > level[:, 0].max() - 0.003, "on the silhouette"


def test_lids_clear_the_eyeball_at_rest_and_while_closing(head):
    for close in torch.linspace(0, 1, 6).tolist():
        exp = head.expression_codes(lids_close_left=close, lids_close_right=close)
        vertices = head(make_codes(head, exp=exp[None])).vertices[0]
        for side, joint in (("left", 3), ("right", 4)):
            lids = head.regions[f"lids_{side}"]
            faces = head.faces[torch.isin(head.faces, lids).all(dim=1)]
            distance = (vertices[faces].mean(dim=1) - head.joints[joint]).norm(dim=-1)
            assert distance.min() > 0.995 * EYE_RADIUS, "the eyeball's facets lie that much inside"


def test_lids_clear_the_eyeball_of_random_people(head):
    codes = make_codes(head, batch=32, seed=0)
    vertices = head(codes).vertices
    joints = head.joints + torch.einsum("jcs,bs->bjc", head.joint_directions, codes.shape)
    for side, joint in (("left", 3), ("right", 4)):
        centre = joints[:, joint, None]
        ball = (vertices[:, head.regions[f"eyes_{side}"]] - centre).norm(dim=-1)
        lids = (vertices[:, head.regions[f"lids_{side}"]] - centre).norm(dim=-1)
        assert torch.allclose(ball.amin(1), ball.amax(1), rtol=1e-2), "eyeballs stay round"
        assert (lids.amin(1) > ball.amax(1) - 2e-4).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_closed_lids_hide_the_iris(head, side):
    joint = {"left": 3, "right": 4}[side]
    ball = head.regions[f"eyes_{side}"]
    iris = ball[(head.mean[ball] - head.joints[joint])[:, :2].norm(dim=1) <= IRIS_RADIUS * 1.01]
    iris_faces = torch.isin(head.faces, iris).all(dim=1)
    open_eye = visible_faces(head, head(make_codes(head)).vertices)
    assert iris_faces[open_eye].any()
    shut = head(make_codes(head, exp=head.expression_codes(f"lids_close_{side}")[None])).vertices
    assert not iris_faces[visible_faces(head, shut)].any()


def test_jaw_parts_the_lips_onto_teeth(head):
    pose = torch.zeros(1, 6)
    pose[0, 3] = 0.3
    rest, wide = head(make_codes(head)), head(make_codes(head, pose=pose))
    gap = wide.landmarks3d[0, 62, 1] - wide.landmarks3d[0, 66, 1]
    assert rest.landmarks3d[0, 62, 1] - rest.landmarks3d[0, 66, 1] < 0.002
    assert gap > 0.015
    upper, lower = head.regions["teeth_upper"], head.regions["teeth_lower"]
    assert torch.equal(rest.vertices[0, upper], wide.vertices[0, upper])
    assert (rest.vertices[0, lower, 1] > wide.vertices[0, lower, 1]).all()
    seen = {name: torch.isin(head.faces, head.regions[name]).all(dim=1) for name in ("teeth", "mouth")}
    before, after = visible_faces(head, rest.vertices), visible_faces(head, wide.vertices)
    assert not seen["teeth"][before].any()
    assert seen["teeth"][after].any()
    assert seen["mouth"][after].any()


def test_teeth_keep_their_shape_in_every_expression(head):
    for region in ("teeth_upper", "teeth_lower"):
        moves = head.expression_directions[head.regions[region]]
        jaw = head.expression_names.index("jaw_open")
        others = [i for i in range(head.n_exp) if i != jaw]
        assert torch.allclose(moves[:, :, others], moves[:1, :, others].expand_as(moves[:, :, others]), atol=1e-7)


def test_smile_lifts_and_frown_drops_the_corners(head):
    corners = [48, 54]
    rest = head(make_codes(head)).landmarks3d[0, corners]
    smile = head(make_codes(head, exp=head.expression_codes("smile")[None])).landmarks3d[0, corners]
    frown = head(make_codes(head, exp=head.expression_codes("frown")[None])).landmarks3d[0, corners]
    assert (smile[:, 1] > rest[:, 1] + 0.003).all()
    assert (frown[:, 1] < rest[:, 1] - 0.003).all()
    assert smile[1, 0] - smile[0, 0] > rest[1, 0] - rest[0, 0] + 0.005


def test_one_sided_expressions_mirror_each_other(head):
    mirror = torch.tensor(build_geometry().mirror)
    flip = torch.tensor([-1.0, 1.0, 1.0])
    for name in ("lids_close", "smirk"):
        left, right = (
            head.expression_directions[..., head.expression_names.index(f"{name}_{s}")] for s in ("left", "right")
        )
        assert torch.allclose(left[mirror] * flip, right, atol=1e-7)


def test_eyes_turn_about_their_own_centres(head):
    eye_pose = torch.tensor([[0.0, 0.3, 0.0, 0.0, 0.0, 0.0]])
    rest, turned = head(make_codes(head)).vertices[0], head(make_codes(head, eye_pose=eye_pose)).vertices[0]
    left = head.regions["eyes_left"]
    others = torch.ones(len(rest), dtype=torch.bool)
    others[left] = False
    assert torch.equal(rest[others], turned[others])
    assert torch.allclose(
        (turned[left] - head.joints[3]).norm(dim=1), (rest[left] - head.joints[3]).norm(dim=1), atol=1e-6
    )
    assert turned[left[0], 0] > rest[left[0], 0], "positive yaw looks to the image right"


def test_global_rotation_is_rigid_and_translation_adds(head):
    pose = torch.tensor([[0.1, 0.4, -0.2, 0.0, 0.0, 0.0]])
    shift = torch.tensor([[0.01, -0.02, 0.03]])
    rest = head(make_codes(head)).vertices[0]
    moved = head(make_codes(head, pose=pose, translation=shift))
    root = torch.tensor(joint_positions()[0], dtype=torch.float32)
    rotation = torch.linalg.matrix_exp(torch.tensor([[0.0, 0.2, 0.4], [-0.2, 0.0, -0.1], [-0.4, 0.1, 0.0]]))
    assert torch.allclose(moved.vertices[0], (rest - root) @ rotation.T + root + shift, atol=1e-5)
    assert torch.allclose(moved.landmarks3d[0], moved.vertices[0, head.fixed_landmarks])


def test_gradients_reach_every_code(head):
    codes = make_codes(head, batch=2, eye_pose=torch.zeros(2, 6), translation=torch.zeros(2, 3))
    leaves = {
        n: getattr(codes, n).clone().requires_grad_() for n in ("shape", "exp", "pose", "eye_pose", "translation")
    }
    mesh = head(codes.replace(**leaves))
    # A weight of its own for every number: in sums of squares left and right cancel, to 0 or to rounding by chance.
    generator = torch.Generator().manual_seed(0)
    seen = (mesh.vertices, mesh.landmarks2d)
    torch.stack([(points * torch.randn(points.shape, generator=generator)).sum() for points in seen]).sum().backward()
    for name, leaf in leaves.items():
        assert torch.isfinite(leaf.grad).all(), name
        assert (leaf.grad.abs().sum(dim=0) > 0).any(), name
    assert (leaves["shape"].grad != 0).all()
    assert (leaves["exp"].grad != 0).all()


def test_random_people_keep_their_features_in_order(head):
    p = head(make_codes(head, batch=32, seed=1)).landmarks3d
    y = p[..., 1]
    assert (y[:, 36:48].amin(1) > y[:, 31:36].amax(1)).all(), "eyes above the base of the nose"
    assert (y[:, 33] > y[:, 51]).all(), "nose above the mouth"
    assert (y[:, 57] > y[:, 8]).all(), "mouth above the chin"
    assert (p[:, 45, 0] > p[:, 42, 0]).all()
    spread = p.std(dim=0).norm(dim=-1)
    assert spread.min() > 5e-4, "people differ everywhere"


def test_codes_of_another_space_raise(head):
    codes = FaceCodes.zeros(1, n_shape=head.n_shape, n_tex=4, n_exp=head.n_exp, space="flame2020")
    with pytest.raises(StructError, match="flame2020"):
        head(codes)


@pytest.mark.parametrize(("field", "value"), [("shape", torch.zeros(1, 3)), ("exp", torch.zeros(1, 50))])
def test_codes_of_another_size_raise(head, field, value):
    with pytest.raises(ValueError, match=rf"FaceCodes\.{field}.*got {value.shape[1]}"):
        head(make_codes(head, **{field: value}))


def test_expression_codes_by_name(head):
    code = head.expression_codes("smile", jaw_open=0.5)
    assert code[head.expression_names.index("smile")] == 1
    assert code[head.expression_names.index("jaw_open")] == 0.5
    assert code.count_nonzero() == 2
    with pytest.raises(ValueError, match="grin"):
        head.expression_codes("grin")


def test_emotion_presets_follow_affectnet(head):
    names = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
    assert tuple(EMOTIONS) == names
    for label, name in enumerate(names):
        exp, jaw_pose, valence, arousal = emotion_preset(label)
        assert torch.equal(exp, emotion_preset(name)[0])
        assert exp.shape == (head.n_exp,)
        assert jaw_pose.shape == (3,)
        assert -1 <= valence <= 1
        assert -1 <= arousal <= 1
    assert not emotion_preset("neutral")[0].any()
    assert emotion_preset("happy")[2] > 0.5 > -0.5 > emotion_preset("sad")[2]
    assert emotion_preset("surprise")[3] > 0.5
    for label in (8, -1, "joy"):
        with pytest.raises(ValueError, match="neutral"):
            emotion_preset(label)
