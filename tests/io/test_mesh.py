from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import trimesh

from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.io.mesh import write_mesh

# A cube of which each side has its own place on the texture: 8 corners, 24 texture coordinates, seams on all edges.
CORNERS = torch.tensor([[x, y, z] for x in (0.0, 1.0) for y in (0.0, 1.0) for z in (0.0, 1.0)])
SIDES = torch.tensor([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
FACES = torch.cat([SIDES[:, [0, 1, 2]], SIDES[:, [0, 2, 3]]])
PLACES = torch.arange(24).view(6, 4)
UV_FACES = torch.cat([PLACES[:, [0, 1, 2]], PLACES[:, [0, 2, 3]]])
UVS = torch.tensor([[[0.0, 0.0], [1, 0], [1, 1], [0, 1]]]).repeat(6, 1, 1) / 8
UVS = (UVS + torch.arange(6)[:, None, None] / 7).reshape(24, 2)
TEXTURE = torch.arange(3 * 8 * 8).view(3, 8, 8) / 255


def picture_of(mesh):
    material = mesh.visual.material
    image = material.baseColorTexture if hasattr(material, "baseColorTexture") else material.image
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1) / 255


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
def test_trimesh_reads_it_back(tmp_path, suffix):
    path = tmp_path / f"cube.{suffix}"
    write_mesh(path, CORNERS, FACES, UVS, UV_FACES, TEXTURE)
    mesh = trimesh.load_mesh(path, process=False)
    np.testing.assert_array_equal(mesh.vertices[mesh.faces], CORNERS[FACES])
    np.testing.assert_allclose(mesh.visual.uv[mesh.faces], UVS[UV_FACES], atol=1e-7)
    assert torch.equal(picture_of(mesh), TEXTURE)
    assert len(mesh.vertices) == 24  # trimesh splits the OBJ's seams when it reads it


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
def test_the_texture_is_the_right_way_up(tmp_path, suffix):
    write_mesh(tmp_path / f"a.{suffix}", CORNERS, FACES, UVS, UV_FACES, TEXTURE)
    mesh = trimesh.load_mesh(tmp_path / f"a.{suffix}", process=False)
    red = mesh.visual.to_color().vertex_colors[:, 0]  # of texel (i, j): 8 i + j
    wanted = 8 * np.round(7 * (1 - mesh.visual.uv[:, 1])) + 7 * mesh.visual.uv[:, 0]
    assert np.abs(red - wanted).max() < 9
    assert np.corrcoef(red, wanted)[0, 1] > 0.97


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
def test_seams_of_the_texture_are_no_holes(tmp_path, suffix):
    path = tmp_path / f"cube.{suffix}"
    write_mesh(path, CORNERS, FACES, UVS, UV_FACES, TEXTURE)
    mesh = trimesh.load_mesh(path, process=False)
    assert not mesh.is_watertight  # as written for graphics cards: the copies on a seam are vertices of their own
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    assert len(mesh.vertices) == 8
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(1)  # and turned outwards


def test_normals_are_smooth_across_seams(tmp_path):
    for suffix in ("ply", "glb"):
        write_mesh(tmp_path / f"a.{suffix}", CORNERS, FACES, UVS, UV_FACES)
    vertices = ply_vertices(tmp_path / "a.ply")
    tree, blob = chunks(tmp_path / "a.glb")
    attributes = tree["meshes"][0]["primitives"][0]["attributes"]
    for places, normals in (
        (vertices["place"], vertices["normal"]),
        (accessor(tree, blob, attributes["POSITION"]), accessor(tree, blob, attributes["NORMAL"])),
    ):
        np.testing.assert_allclose(normals, (2 * places - 1) / 3**0.5, atol=1e-6)


def ply_vertices(path):
    """The vertices as they lie in the file: trimesh drops those of no face."""
    header, content = path.read_bytes().split(b"end_header\n", 1)
    columns = [("place", "<f4", 3), ("normal", "<f4", 3), ("uv", "<f8", 2)]
    return np.frombuffer(content, columns, count=int(header.split(b"element vertex ")[1].split()[0]))


def chunks(path):
    """The two chunks of a GLB (glTF 2.0, section 4.4.3), read by hand because trimesh passes over normals."""
    content = path.read_bytes()
    length = int.from_bytes(content[12:16], "little")
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def accessor(tree, blob, number):
    description = tree["accessors"][number]
    start = tree["bufferViews"][description["bufferView"]].get("byteOffset", 0) + description.get("byteOffset", 0)
    return np.frombuffer(blob, "<f4", 3 * description["count"], start).reshape(-1, 3)


def test_the_models_vertices_come_first(tmp_path):
    vertices = torch.cat([CORNERS, torch.tensor([[5.0, 5.0, 5.0]])])  # one of no face keeps its number too
    for suffix in ("ply", "glb"):
        write_mesh(tmp_path / f"a.{suffix}", vertices, FACES, UVS, UV_FACES)
    tree, blob = chunks(tmp_path / "a.glb")
    for places in (
        ply_vertices(tmp_path / "a.ply")["place"],
        accessor(tree, blob, tree["meshes"][0]["primitives"][0]["attributes"]["POSITION"]),
    ):
        assert len(places) == 25
        np.testing.assert_array_equal(places[:9], vertices)


def test_obj_keeps_each_vertex_once(tmp_path):
    write_mesh(tmp_path / "a.obj", CORNERS, FACES, UVS, UV_FACES)
    lines = (tmp_path / "a.obj").read_text().splitlines()
    assert sum(line.startswith("v ") for line in lines) == 8
    # Which trimesh does not: the reason for a writer of our own. When this fails, it can go.
    split = trimesh.load_mesh(tmp_path / "a.obj", process=False)
    assert sum(line.startswith("v ") for line in split.export(file_type="obj").splitlines()) == 24


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
def test_without_texture(tmp_path, suffix):
    write_mesh(tmp_path / f"a.{suffix}", CORNERS, FACES)
    mesh = trimesh.load_mesh(tmp_path / f"a.{suffix}", process=False)
    assert mesh.is_watertight
    assert [p.name for p in tmp_path.iterdir()] == [f"a.{suffix}"]


def test_meshes_share_a_texture(tmp_path):
    write_image(tmp_path / "skin.png", TEXTURE)
    for suffix in ("obj", "ply", "glb"):
        write_mesh(tmp_path / f"a.{suffix}", CORNERS, FACES, UVS, UV_FACES, tmp_path / "skin.png")
        assert torch.equal(picture_of(trimesh.load_mesh(tmp_path / f"a.{suffix}", process=False)), TEXTURE)
    assert {p.name for p in tmp_path.iterdir()} == {"skin.png", "a.obj", "a.mtl", "a.ply", "a.glb"}
    assert torch.equal(read_image(tmp_path / "skin.png"), TEXTURE)


@pytest.mark.parametrize("unlit", [False, True])
def test_textures_that_hold_the_light_say_so(tmp_path, unlit):
    write_mesh(tmp_path / "a.glb", CORNERS, FACES, UVS, UV_FACES, TEXTURE, unlit)
    tree, _ = chunks(tmp_path / "a.glb")
    assert ("KHR_materials_unlit" in tree.get("extensionsUsed", [])) == unlit
    assert ("KHR_materials_unlit" in tree["materials"][0].get("extensions", {})) == unlit
    write_mesh(tmp_path / "a.obj", CORNERS, FACES, UVS, UV_FACES, TEXTURE, unlit)
    assert f"illum {0 if unlit else 1}" in (tmp_path / "a.mtl").read_text().splitlines()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("a.stl", (CORNERS, FACES), r"a\.stl: expected a name that ends in \.obj, \.ply, \.glb, got '\.stl'"),
        ("a.glb", (CORNERS * float("nan"), FACES), "vertices: expected finite numbers"),
        ("a.ply", (CORNERS, FACES + 1), r"faces: expected 0..7 \(counted from 0\), got 1..8"),
        ("a.glb", (CORNERS, FACES, None, None, TEXTURE), "texture: expected uvs and uv_faces with it"),
        ("a.ply", (CORNERS, FACES, UVS, UV_FACES[:3]), "uv_faces: expected 12 rows as in faces, got 3"),
    ],
)
def test_bad_mesh_writes_nothing(tmp_path, name, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_mesh(tmp_path / name, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["obj", "ply", "glb"])
def test_bad_texture_files(tmp_path, suffix):
    with pytest.raises(FileNotFoundError, match=r"none\.png does not exist"):
        write_mesh(tmp_path / f"a.{suffix}", CORNERS, FACES, UVS, UV_FACES, tmp_path / "none.png")
    write_image(tmp_path / "elsewhere" / "skin.png", TEXTURE)
    with pytest.raises(ValueError, match=r"expected a file in .*, beside a\."):
        write_mesh(tmp_path / f"a.{suffix}", CORNERS, FACES, UVS, UV_FACES, tmp_path / "elsewhere" / "skin.png")
    assert [p.name for p in tmp_path.iterdir()] == ["elsewhere"]
