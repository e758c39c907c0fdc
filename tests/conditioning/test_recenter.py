from __future__ import annotations

import pytest
import torch

from diffrig_emo.conditioning.recenter import face_center, recenter
from diffrig_emo.morphable.base import FaceModel
from diffrig_emo.structures import FaceCodes, FaceMesh, MeshTopology, StructError


class SwingingPoints(FaceModel):
    """68 points that turn about a joint below them, as a head does about its neck."""

    space, n_shape, n_exp = "swing", 2, 2

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.points = 0.05 * torch.randn(68, 3, generator=generator, dtype=torch.float64) + torch.tensor([0, 0.15, 0.1])

    @property
    def topology(self):
        index = torch.tensor([[0, 1, 2]])
        return MeshTopology(faces=index, uvs=torch.zeros(3, 2), uv_faces=index)

    def forward(self, codes):
        x, y, z = codes.global_rotation.unbind(1)
        zero = torch.zeros_like(x)
        cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).view(-1, 3, 3)
        points = (self.points * (1 + 0.1 * codes.exp[:, :1, None])) @ torch.linalg.matrix_exp(cross).transpose(1, 2)
        if codes.translation is not None:
            points = points + codes.translation[:, None]
        return FaceMesh(vertices=points, landmarks2d=points, landmarks3d=points)


@pytest.fixture
def model():
    return SwingingPoints()


def random_codes(n):
    zeros = FaceCodes.zeros(n, n_shape=2, n_tex=1, n_exp=2, space="swing", dtype=torch.float64)
    return zeros.replace(pose=0.4 * torch.randn(n, 6).double(), exp=torch.randn(n, 2).double())


def test_center_by_hand():
    points = torch.zeros(1, 68, 3)
    points[0, 36:42] = torch.tensor([-3.0, 1, 0])
    points[0, 42:48] = torch.tensor([5.0, 1, 0])
    points[0, 48] = torch.tensor([-1.0, -4, 2])
    points[0, 54] = torch.tensor([1.0, -4, 2])
    points[0, :36] = points[0, 49:54] = points[0, 55:] = 99.0  # no other point counts
    torch.testing.assert_close(face_center(points), torch.tensor([[0.9, 0.5, 0.2]]))


def test_faces_come_back_to_their_places(model):
    source, edited = random_codes(4), random_codes(4)
    wanted = face_center(model(source).landmarks2d)
    assert (face_center(model(edited).landmarks2d) - wanted).norm(dim=1).min() > 1e-3
    moved = recenter(edited, source, model)
    torch.testing.assert_close(face_center(model(moved).landmarks2d), wanted)
    assert moved.pose is edited.pose


def test_translations_count(model):
    source, edited = random_codes(2), random_codes(2)
    shift = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]).double()
    plain = recenter(edited, source, model).translation
    torch.testing.assert_close(recenter(edited.replace(translation=9 * shift), source, model).translation, plain)
    torch.testing.assert_close(recenter(edited, source.replace(translation=shift), model).translation, plain + shift)
    again = recenter(recenter(edited, source, model), source, model)
    torch.testing.assert_close(again.translation, plain)


def test_no_edit_no_move(model):
    source = random_codes(2)
    assert recenter(source, source, model).translation.abs().max() == 0


def test_pairs_are_checked(model):
    with pytest.raises(StructError, match="two batches of one size, got 3 edited and 1 source"):
        recenter(random_codes(3), random_codes(1), model)
