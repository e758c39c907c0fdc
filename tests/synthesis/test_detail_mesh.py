from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from diffrig_emo.structures import MeshTopology
from diffrig_emo.synthesis.detail_mesh import displaced_mesh

SIDE = 64


@pytest.fixture
def sheet():
    """A flat square, 0.1 m wide, that fills the chart and faces +z."""
    uvs = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return torch.nn.functional.pad(0.1 * uvs, (0, 1)), MeshTopology(faces=faces, uvs=uvs, uv_faces=faces)


@pytest.fixture
def ball():
    """A closed ball, every face of which has a place of its own on the texture: seams everywhere."""
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.1)
    faces = torch.from_numpy(mesh.faces.copy())
    generator = torch.Generator().manual_seed(0)
    uvs = torch.rand(3 * len(faces), 2, generator=generator)
    topology = MeshTopology(faces=faces, uvs=uvs, uv_faces=torch.arange(3 * len(faces)).view(-1, 3))
    return torch.from_numpy(mesh.vertices.copy()).float(), topology


def test_the_map_is_read_where_the_vertex_lies_on_it(sheet):
    middle = (torch.arange(SIDE) + 0.5) / SIDE
    displacement = 0.01 * (middle[None] + 2 * middle.flip(0)[:, None])  # 0.01 (u + 2 v): row 0 lies at v = 1
    moved, finer = displaced_mesh(*sheet, displacement, levels=3)
    assert len(finer.faces) == 2 * 4**3
    torch.testing.assert_close(moved[finer.faces][..., :2], 0.1 * finer.uvs[finer.uv_faces])
    u, v = (10 * moved[:, :2]).T
    inner = (torch.minimum(u, v) > 1 / SIDE) & (torch.maximum(u, v) < 1 - 1 / SIDE)  # the map ends half a texel earlier
    torch.testing.assert_close(moved[inner, 2], 0.01 * (u + 2 * v)[inner], atol=1e-6, rtol=0)
    assert inner.sum() > 40


def test_a_ball_grows_by_an_even_displacement(ball):
    moved, _ = displaced_mesh(*ball, torch.full((SIDE, SIDE), 0.004), levels=0)
    np.testing.assert_allclose(moved.norm(dim=1), 0.104, atol=2e-6)
    shrunk, _ = displaced_mesh(*ball, torch.full((SIDE, SIDE), -0.004), levels=1)
    np.testing.assert_allclose(shrunk[: len(ball[0])].norm(dim=1), 0.096, atol=2e-6)


def test_a_closed_mesh_stays_closed_whatever_the_seams(ball):
    moved, finer = displaced_mesh(*ball, 0.002 * torch.rand(SIDE, SIDE), levels=2)
    mesh = trimesh.Trimesh(moved.numpy(), finer.faces.numpy(), process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert len(mesh.faces) == 16 * len(ball[1].faces)
    assert 0.1**3 * 4 / 3 * np.pi * 0.99 < mesh.volume < 0.102**3 * 4 / 3 * np.pi
    assert moved.norm(dim=1).std() > 1e-4


def test_first_come_the_vertices_that_were_there(ball):
    moved, finer = displaced_mesh(*ball, torch.zeros(SIDE, SIDE), levels=2)
    assert torch.equal(moved[: len(ball[0])], ball[0])
    assert len(moved) == int(finer.faces.max()) + 1
    assert torch.equal(finer.uvs[: len(ball[1].uvs)], ball[1].uvs)


def test_misfits_are_named(ball):
    with pytest.raises(ValueError, match=r"displacement: expected a square map, got \(8, 9\)"):
        displaced_mesh(*ball, torch.zeros(8, 9))
    with pytest.raises(ValueError, match="levels: expected 0 or more, got -1"):
        displaced_mesh(*ball, torch.zeros(8, 8), levels=-1)
