"""The renderer against DECA's renderer class over pytorch3d's CPU rasterizer (1196 faces, batch 2)."""

import numpy as np
import pytest
import torch

from diffrig_emo.io.obj import read_obj
from diffrig_emo.renderer import (
    BufferRenderer,
    TorchRasterizer,
    directional_shading,
    interpolate,
    point_shading,
    resample_to_uv,
    texture_coordinates,
    vertex_normals,
)
from diffrig_emo.structures import FaceCodes, FaceMesh, MeshTopology
from diffrig_emo.transforms.projection import project

SIZES = [(64, 64), (48, 80), (128, 128)]
BUFFERS = {"rendered": "images", "normal": "normal_images", "albedo": "albedo_images", "mask": "alpha"}


@pytest.fixture(scope="module")
def numbers(parity_dir):
    def load(name):
        return {key: torch.from_numpy(value) for key, value in np.load(parity_dir / "render" / f"{name}.npz").items()}

    return load


@pytest.fixture(scope="module")
def inputs(numbers):
    return numbers("fake_inputs")


@pytest.fixture(scope="module")
def topology(fake_flame_dir):
    obj = read_obj(fake_flame_dir / "head_template.obj")
    return MeshTopology(faces=obj.faces, uvs=obj.uvs, uv_faces=obj.uv_faces)


def render(size, topology, inputs, **changed):
    given = {key: changed.get(key, inputs[key]) for key in ("vertices", "cam", "light", "albedo")}
    landmarks = torch.zeros(2, 68, 3)
    mesh = FaceMesh(vertices=given["vertices"], landmarks2d=landmarks, landmarks3d=landmarks)
    codes = FaceCodes.zeros(2, n_shape=100, n_tex=50, n_exp=50, space="flame2020")
    codes = codes.replace(cam=given["cam"], light=given["light"])
    return BufferRenderer(size)(mesh, topology, given["albedo"], codes)


def winners(expected, n_faces):
    """The fixture counts faces through the batch."""
    packed = expected["pix_to_face"].long()
    return torch.where(packed >= 0, packed % n_faces, -1)


def test_projection(inputs, numbers):
    screen = project(inputs["vertices"], inputs["cam"])
    torch.testing.assert_close(screen, numbers("fake_64x64")["trans_verts"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_fragments(size, topology, inputs, numbers):
    expected = numbers(f"fake_{size[0]}x{size[1]}")
    fragments = TorchRasterizer()(project(inputs["vertices"], inputs["cam"]), topology.faces, size)
    same = fragments.pix_to_face == winners(expected, len(topology.faces))
    assert same.float().mean() >= 0.999
    torch.testing.assert_close(fragments.bary_coords[same], expected["bary"][same], atol=1e-4, rtol=0)
    if "zbuf" in expected:
        torch.testing.assert_close(fragments.zbuf[same], expected["zbuf"][same], atol=1e-4, rtol=0)
    grid = interpolate(fragments, (texture_coordinates(topology.uvs), topology.uv_faces))[0].permute(0, 2, 3, 1)
    torch.testing.assert_close(grid[same], expected["grid"][same], atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_buffers(size, topology, inputs, numbers):
    expected = numbers(f"fake_{size[0]}x{size[1]}")
    buffers = render(size, topology, inputs)
    fragments = TorchRasterizer()(project(inputs["vertices"], inputs["cam"]), topology.faces, size)
    same = (fragments.pix_to_face == winners(expected, len(topology.faces)))[:, None]
    for name, theirs in BUFFERS.items():
        difference = (getattr(buffers, name) - expected[theirs].float()).abs() * same
        assert difference.max() <= 1e-4, f"{name} differs by {difference.max():.2e}"


def test_vertex_normals(topology, inputs):
    ours = vertex_normals(inputs["vertices"], topology.faces)
    torch.testing.assert_close(ours, inputs["vertex_normals"], atol=1e-5, rtol=0)


def test_gradients(topology, inputs, numbers, fill):
    expected = numbers("fake_64x64_grad")
    weights = torch.from_numpy(fill.seeded_array("open/render/fake/gradw", (2, 3, 64, 64)))
    given = {key: inputs[key].clone().requires_grad_() for key in ("vertices", "light", "albedo", "cam")}
    buffers = render((64, 64), topology, inputs, **given)
    scalar = (buffers.rendered * weights).sum()
    torch.testing.assert_close(scalar, expected["scalar"], rtol=1e-4, atol=0)
    gradients = torch.autograd.grad(scalar, given.values(), retain_graph=True)
    for name, gradient in zip(given, gradients, strict=True):
        theirs = expected[f"grad_{name}"]
        torch.testing.assert_close(gradient, theirs, atol=1e-3 * float(theirs.abs().max()), rtol=0)
    (gradient,) = torch.autograd.grad((buffers.normal * weights).sum(), given["vertices"])
    theirs = expected["grad_vertices_from_normal_images"]
    torch.testing.assert_close(gradient, theirs, atol=1e-3 * float(theirs.abs().max()), rtol=0)


def test_point_and_directional_lights(topology, inputs):
    vertices, lights = inputs["vertices"], inputs["pointlights"]
    fragments = TorchRasterizer()(project(vertices, inputs["cam"]), topology.faces, (64, 64))
    attributes = [(vertices, topology.faces), (vertex_normals(vertices, topology.faces), topology.faces)]
    positions, normals = interpolate(fragments, *attributes)
    albedo = render((64, 64), topology, inputs).albedo
    expected = inputs["images_point_64"].float()
    torch.testing.assert_close(albedo * point_shading(positions, normals, lights), expected, atol=2e-3, rtol=0)
    # The original negates the whole light, intensities included.
    travelling = torch.cat([lights[..., :3], -lights[..., 3:]], dim=2)
    expected = inputs["images_directional_64"].float()
    torch.testing.assert_close(albedo * directional_shading(normals, travelling), expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(albedo, inputs["images_nolight_64"].float(), atol=2e-3, rtol=0)


def test_world_to_uv(topology, inputs):
    resampled = resample_to_uv(inputs["vertices"], topology, 256)
    torch.testing.assert_close(resampled[:, :, ::8, ::8], inputs["uv_vertices_sub"], atol=1e-4, rtol=0)
    torch.testing.assert_close(resampled.mean((2, 3)), inputs["uv_vertices_mean"], atol=1e-5, rtol=0)
