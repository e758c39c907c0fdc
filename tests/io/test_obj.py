from __future__ import annotations

import pytest
import torch

from diffrig_emo.io.images import read_image
from diffrig_emo.io.obj import read_obj, write_obj

VERTICES = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 1 / 3], [1.0, 1.0, 1e-7]])
FACES = torch.tensor([[0, 1, 2], [1, 3, 2]])
UVS = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.1, 0.7]])
UV_FACES = torch.tensor([[0, 1, 2], [1, 3, 4]])


def test_round_trip_is_exact(tmp_path):
    write_obj(tmp_path / "a.obj", VERTICES, FACES, UVS, UV_FACES)
    mesh = read_obj(tmp_path / "a.obj")
    for actual, expected in zip(mesh, (VERTICES, FACES, UVS, UV_FACES), strict=True):
        assert torch.equal(actual, expected)
    assert [p.name for p in tmp_path.iterdir()] == ["a.obj"]


def test_without_texture_coordinates(tmp_path):
    write_obj(tmp_path / "a.obj", VERTICES, FACES)
    mesh = read_obj(tmp_path / "a.obj")
    assert torch.equal(mesh.faces, FACES)
    assert mesh.uv_faces is None
    assert mesh.uvs.shape == (0, 2)


def test_texture_chain(tmp_path):
    texture = torch.rand(3, 4, 4)
    write_obj(tmp_path / "face.obj", VERTICES, FACES, UVS, UV_FACES, texture)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["face.mtl", "face.obj", "face.png"]
    assert "mtllib face.mtl" in (tmp_path / "face.obj").read_text().splitlines()
    material = (tmp_path / "face.mtl").read_text()
    assert "map_Kd face.png" in material.splitlines()
    name = material.split("newmtl ")[1].split()[0]
    assert f"usemtl {name}" in (tmp_path / "face.obj").read_text().splitlines()
    assert torch.allclose(read_image(tmp_path / "face.png"), texture, atol=0.5 / 255 + 1e-6)


def test_reads_what_others_write(tmp_path):
    (tmp_path / "a.obj").write_text(
        "# made elsewhere\nmtllib x.mtl\no head\nv 0 0 0 0.5 0.5 0.5\nv 1 0 0\nv 0 1 0\nvn 0 0 1\nvt 0 0 0\nvt 1 0\n"
        "vt 0 1\ns off\nf -3/1/1 -2/2/1 -1/3/1\n\n"
    )
    mesh = read_obj(tmp_path / "a.obj")
    assert mesh.faces.tolist() == mesh.uv_faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", r"a\.obj: vertex index: expected 0..2"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", r"vertex index: expected 0..2 \(counted from 0\), got -1..1"),
        ("v 0 0 0\nv 1 0\n", r"a\.obj, line 2 \('v 1 0'\): expected 3 numbers, got 2"),
        ("v 0 0 zero\n", r"a\.obj, line 1 .*could not convert"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nf 1 2 3 4\n", "expected a triangle, got 4 corners"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\nf 1 2 3\n", "on all 2 faces or none, got 1"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/2 3/1\n", "texture-coordinate index: expected 0..0"),
        ("hello\n", "expected a mesh, got 0 vertices"),
    ],
)
def test_bad_file(tmp_path, text, message):
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_obj(tmp_path / "a.obj")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((VERTICES[None], FACES), r"vertices: expected a tensor of shape \(n, 3\), got \(1, 4, 3\)"),
        ((VERTICES * float("nan"), FACES), "vertices: expected finite numbers"),
        ((VERTICES, FACES + 2), r"faces: expected 0..3 \(counted from 0\), got 2..5"),
        ((VERTICES, FACES, UVS), "uvs and uv_faces: expected both or neither"),
        ((VERTICES, FACES, UVS, UV_FACES[:1]), "uv_faces: expected 2 rows as in faces, got 1"),
        ((VERTICES, FACES, None, None, torch.zeros(3, 2, 2)), "texture: expected uvs and uv_faces with it"),
        ((VERTICES, FACES, UVS, UV_FACES, torch.zeros(2, 2, 3)), r"image for .*a\.png"),
    ],
)
def test_bad_mesh_writes_nothing(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_obj(tmp_path / "a.obj", *arguments)
    assert not list(tmp_path.iterdir())


def test_bad_name(tmp_path):
    with pytest.raises(ValueError, match=r"expected a name that ends in \.obj"):
        write_obj(tmp_path / "a.ply", VERTICES, FACES)
