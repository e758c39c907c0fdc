"""From codes to buffers as DiffusionRig does it: plain, and after each of its four edits with recentering."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffrig_emo.conditioning.recenter import face_center, recenter
from diffrig_emo.io.images import read_image
from diffrig_emo.morphable.flame import FLAME
from diffrig_emo.morphable.texture import FlameTexture
from diffrig_emo.renderer.buffers import BufferRenderer
from diffrig_emo.structures import FaceCodes
from diffrig_emo.synthesis.detail_normals import detail_normals
from diffrig_emo.transforms.edits import transfer_expression, transfer_light, transfer_pose
from diffrig_emo.transforms.projection import project

EDITS = {
    "pose": transfer_pose,
    "exp": transfer_expression,
    "light": transfer_light,
    "latent": lambda source, target: source,
}
PICTURES = {"rendered_images": "rendered", "normal_images": "normal", "albedo_images": "albedo"}


@pytest.fixture(scope="module")
def numbers(parity_dir):
    return np.load(parity_dir / "render" / "decode.npz")


@pytest.fixture(scope="module")
def flame(fake_flame_dir):
    return FLAME.from_folder(fake_flame_dir)


@pytest.fixture(scope="module")
def texture(fake_flame_dir):
    return FlameTexture(fake_flame_dir)


@pytest.fixture(scope="module")
def source(numbers):
    return codes_of(numbers, "source")


@pytest.fixture(scope="module")
def target(numbers):
    return codes_of(numbers, "target")


def codes_of(numbers, whose):
    fields = {
        name: torch.from_numpy(numbers[f"{whose}.{name}"]) for name in ("shape", "tex", "exp", "pose", "cam", "light")
    }
    return FaceCodes(**fields, tform=torch.from_numpy(numbers["tform"])[None], space="flame2020")


def sampled(tensor, numbers, name):
    return tensor.flatten()[numbers[f"{name}.idx"]], torch.from_numpy(numbers[name])


def check_pictures(buffers, numbers, prefix):
    """Buffers within the rounding of the numbers, which are float16, except at ties on shared edges."""
    covered = torch.from_numpy(numbers[f"{prefix}.rendered_images"]).abs().sum(1, keepdim=True) > 0
    assert (covered != buffers.mask.bool()).float().mean() <= 1e-3
    for name, field in PICTURES.items():
        if f"{prefix}.{name}" not in numbers:
            continue
        expected = torch.from_numpy(numbers[f"{prefix}.{name}"]).float()
        error = (getattr(buffers, field) - expected).abs().amax(dim=1)
        assert (error > 1e-3).float().mean() <= 1e-3, f"{prefix}.{name}"


def test_vertices_and_landmarks(flame, source, numbers):
    mesh = flame(source)
    torch.testing.assert_close(*sampled(mesh.vertices, numbers, "create_data.verts"), atol=1e-6, rtol=0)
    torch.testing.assert_close(*sampled(mesh.landmarks3d, numbers, "create_data.landmarks3d_world"), atol=1e-6, rtol=0)
    pairs = {"trans_verts": mesh.vertices, "landmarks2d": mesh.landmarks2d[..., :2], "landmarks3d": mesh.landmarks3d}
    for name, points in pairs.items():
        screen = project(torch.nn.functional.pad(points, (0, 3 - points.shape[-1])), source.cam)[
            ..., : points.shape[-1]
        ]
        torch.testing.assert_close(*sampled(screen, numbers, f"create_data.{name}"), atol=1e-5, rtol=0)


def test_albedo_map(texture, source, numbers):
    albedo = texture(source.tex)
    assert tuple(albedo.shape) == tuple(numbers["albedo_map.shape"])
    expected = torch.from_numpy(numbers["albedo_map.val"])
    torch.testing.assert_close(albedo.flatten()[numbers["albedo_map.idx"]], expected, atol=1e-6, rtol=0)


def test_face_center(flame, source, numbers):
    center = face_center(flame(source).landmarks2d)
    torch.testing.assert_close(center, torch.from_numpy(numbers["ffhq_center"]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", EDITS)
def test_recentered_vertices(flame, source, target, numbers, mode):
    edited = recenter(EDITS[mode](source, target), source, flame)
    vertices = flame(edited).vertices
    expected = torch.from_numpy(numbers[f"edit_{mode}.verts_mean"])
    torch.testing.assert_close(vertices.mean(dim=1), expected, atol=1e-6, rtol=0)
    screen = project(vertices, edited.cam)[:, ::7]
    expected = torch.from_numpy(numbers[f"edit_{mode}.trans_verts_sub"])
    torch.testing.assert_close(screen, expected, atol=1e-5, rtol=0)


def test_plain_buffers(flame, texture, source, numbers):
    renderer = BufferRenderer(int(numbers["original_size"]))
    buffers = renderer(flame(source), flame.topology, texture(source.tex), source)
    check_pictures(buffers, numbers, "create_data")


@pytest.mark.parametrize("mode", ["pose", "exp", "light"])
def test_edited_buffers(flame, texture, source, target, numbers, mode):
    edited = recenter(EDITS[mode](source, target), source, flame)
    buffers = BufferRenderer(256)(flame(edited), flame.topology, texture(edited.tex), edited)
    check_pictures(buffers, numbers, f"edit_{mode}")


def test_buffers_of_the_crop(flame, texture, source, numbers):
    codes = source.replace(tform=None)
    buffers = BufferRenderer(224)(flame(codes), flame.topology, texture(codes.tex), codes)
    for name, field in (("images", "rendered"), ("normal_images", "normal")):
        expected = torch.from_numpy(numbers[f"crop224.{name}_sub4"])
        error = (getattr(buffers, field)[:, :, ::4, ::4] - expected).abs().amax(dim=1)
        assert (error > 1e-4).float().mean() <= 1e-3


def test_detail_normals(flame, source, numbers, fill, fake_flame_dir):
    displacement = fill.seeded_array(str(numbers["uv_z_tag"]), (1, 1, 256, 256), -0.002, 0.002)
    normals = detail_normals(
        flame(source),
        flame.topology,
        torch.from_numpy(displacement),
        read_image(fake_flame_dir / "uv_face_eye_mask.png")[0],
        torch.from_numpy(np.load(fake_flame_dir / "fixed_displacement_256.npy")).float(),
    )
    assert tuple(normals.shape) == tuple(numbers["detail_normals.shape"])
    expected = torch.from_numpy(numbers["detail_normals.val"])
    torch.testing.assert_close(normals.flatten()[numbers["detail_normals.idx"]], expected, atol=1e-4, rtol=0)
    assert normals.double().mean().item() == pytest.approx(float(numbers["detail_normals.mean"]), abs=1e-5)
