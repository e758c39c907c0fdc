from __future__ import annotations

import pytest
import torch

from diffrig_emo.structures import FaceMesh, MeshTopology
from diffrig_emo.synthesis.detail_normals import detail_normals

SIZE = 64


@pytest.fixture
def sheet():
    """A flat square, 0.1 m wide, that fills the chart and faces +z; for two items, at different depths."""
    uvs = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    vertices = torch.nn.functional.pad(0.1 * uvs, (0, 1)).repeat(2, 1, 1)
    vertices[1, :, 2] = 0.5
    landmarks = torch.zeros(2, 68, 3)
    mesh = FaceMesh(vertices=vertices, landmarks2d=landmarks, landmarks3d=landmarks)
    return mesh, MeshTopology(faces=faces, uvs=uvs, uv_faces=faces)


def test_flat_stays_flat(sheet):
    normals = detail_normals(*sheet, torch.zeros(2, 1, SIZE, SIZE), torch.ones(SIZE, SIZE), torch.zeros(SIZE, SIZE))
    inner = normals[:, :, 8:-8, 8:-8]
    # pixels whose centre lies exactly on the shared edge belong to neither face
    off = ~torch.eye(SIZE, dtype=torch.bool).flip(0)[8:-8, 8:-8]
    far = off & off.roll(1, 0) & off.roll(-1, 0) & off.roll(1, 1) & off.roll(-1, 1)
    torch.testing.assert_close(inner[:, 2][:, far], torch.ones_like(inner[:, 2][:, far]), atol=1e-5, rtol=0)


def test_a_ramp_tilts_the_normal(sheet):
    slope = 0.5  # rises by 0.05 m over the sheet's 0.1 m, towards +x
    ramp = (torch.arange(SIZE) + 0.5) / SIZE * 0.1 * slope
    displacement = ramp.expand(2, 1, SIZE, SIZE)
    normals = detail_normals(*sheet, displacement, torch.ones(SIZE, SIZE), torch.zeros(SIZE, SIZE))
    expected = torch.nn.functional.normalize(torch.tensor([-slope, 0.0, 1.0]), dim=0)
    torch.testing.assert_close(normals[:, :, 40, 50], expected.expand(2, 3), atol=1e-4, rtol=0)
    fixed = detail_normals(*sheet, 0 * displacement, torch.ones(SIZE, SIZE), ramp.expand(SIZE, SIZE))
    torch.testing.assert_close(fixed, normals)


def test_outside_the_mask_nothing_happens(sheet):
    normals = detail_normals(*sheet, torch.rand(2, 1, SIZE, SIZE), torch.zeros(SIZE, SIZE), torch.zeros(SIZE, SIZE))
    torch.testing.assert_close(normals[:, :, 40, 50], torch.tensor([0.0, 0.0, 1.0]).expand(2, 3), atol=1e-5, rtol=0)


def test_maps_of_different_sizes(sheet):
    with pytest.raises(ValueError, match="expected square maps of one size"):
        detail_normals(*sheet, torch.zeros(2, 1, 32, 32), torch.ones(64, 64), torch.zeros(64, 64))
