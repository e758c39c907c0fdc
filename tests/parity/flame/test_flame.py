"""FLAME against numbers of the original code, on synthetic assets in the official formats and converted."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from diffrig_emo.morphable.flame import FLAME
from diffrig_emo.morphable.landmarks import contour_rows
from diffrig_emo.morphable.skinning import rodrigues
from diffrig_emo.morphable.texture import FlameTexture
from diffrig_emo.structures import FaceCodes
from diffrig_emo.workflows.convert import convert


@pytest.fixture(scope="module")
def numbers(parity_dir):
    return np.load(parity_dir / "flame" / "flame_fake.npz")


@pytest.fixture(scope="module", params=["official", "converted"])
def folder(request, fake_flame_dir, tmp_path_factory):
    if request.param == "official":
        yield fake_flame_dir
        return
    out = tmp_path_factory.mktemp("converted")
    convert(str(out), assets=str(fake_flame_dir))
    (out / "head_template.obj").symlink_to(fake_flame_dir / "head_template.obj")
    yield out
    shutil.rmtree(out)  # the texture is large


@pytest.fixture(scope="module")
def flame(folder):
    return FLAME.from_folder(folder)


def codes_of(numbers, n_shape=100, n_exp=50, n=8):
    blank = FaceCodes.zeros(n, n_shape=n_shape, n_tex=1, n_exp=n_exp, space="flame2020")
    shape, exp, pose = (torch.from_numpy(numbers[name][:n]) for name in ("shape", "exp", "pose"))
    return blank.replace(shape=shape[:, :n_shape], exp=exp[:, :n_exp], pose=pose)


def close(actual, expected, **tolerance):
    torch.testing.assert_close(actual, torch.from_numpy(expected), check_dtype=False, **tolerance)


def test_vertices_and_landmarks(flame, numbers):
    mesh = flame(codes_of(numbers))
    for name in ("vertices", "landmarks2d", "landmarks3d"):
        close(getattr(mesh, name), numbers[name], atol=1e-6, rtol=0)


def test_eye_pose(flame, numbers):
    mesh = flame(codes_of(numbers).replace(eye_pose=torch.from_numpy(numbers["eye_pose"])))
    close(mesh.vertices[1], numbers["vertices_eye0"], atol=1e-6, rtol=0)
    close(mesh.landmarks2d, numbers["landmarks2d_eye"], atol=1e-6, rtol=0)
    close(mesh.landmarks3d, numbers["landmarks3d_eye"], atol=1e-6, rtol=0)


def test_fewer_coefficients(folder, numbers):
    flame = FLAME.from_folder(folder, n_shape=60, n_exp=20)
    vertices = flame(codes_of(numbers, n_shape=60, n_exp=20, n=2)).vertices
    close(vertices.flatten()[numbers["vertices_60_20.idx"]], numbers["vertices_60_20.val"], atol=1e-6, rtol=0)


def test_code_gradients(flame, numbers, fill):
    codes = codes_of(numbers)
    leaves = [tensor.requires_grad_() for tensor in (codes.shape, codes.exp, codes.pose)]
    mesh = flame(codes)
    outputs = (mesh.vertices, mesh.landmarks2d, mesh.landmarks3d)
    weights = [
        torch.from_numpy(fill.seeded_array(f"open/flame/fake/{tag}", tuple(output.shape)))
        for tag, output in zip(("gv", "g2", "g3"), outputs, strict=True)
    ]
    total = sum((output * weight).sum() for output, weight in zip(outputs, weights, strict=True))
    for name, gradient in zip(("shape", "exp", "pose"), torch.autograd.grad(total, leaves), strict=True):
        expected = numbers[f"grad_{name}"]
        close(gradient, expected, rtol=1e-3, atol=1e-5 * float(np.abs(expected).max()))


def test_topology_and_chain(flame, numbers):
    assert torch.equal(flame.topology.faces, torch.from_numpy(numbers["faces"]).long())
    assert flame.parents == numbers["parents"].tolist()


def test_contour_faces(flame, numbers):
    rows = contour_rows(rodrigues(torch.from_numpy(numbers["pose"][:, :3])))
    same = flame.contour_faces[numbers["first_contour_row_with_same_faces"]]
    assert torch.equal(flame.contour_faces[rows], same)


def test_texture(folder, parity_dir):
    numbers = np.load(parity_dir / "flame" / "flametex_fake.npz")
    texture = FlameTexture(folder)
    albedo = texture(torch.from_numpy(numbers["texcode"]))
    assert tuple(albedo.shape) == tuple(numbers["texture.shape"])
    close(albedo.flatten()[numbers["texture.idx"]], numbers["texture.val"], atol=1e-6, rtol=0)
    assert albedo.double().mean().item() == pytest.approx(float(numbers["texture.mean"]), abs=1e-6)
    close(albedo[0, :, 128], numbers["row128"], atol=1e-6, rtol=0)
    close(texture.mean[:, ::16, ::16], numbers["mean_only"], atol=1e-6, rtol=0)
