import pytest
import torch

from diffrig_emo.renderer import BufferRenderer, TorchRasterizer
from diffrig_emo.structures import FaceCodes, FaceMesh, MeshTopology
from tests.benchmarks.bench_renderer import uv_sphere

NAMES = ("rendered", "normal", "albedo", "mask")


def codes_for(batch, dtype=torch.float32, **changes):
    return FaceCodes.zeros(batch, n_shape=1, n_tex=1, n_exp=1, space="test", dtype=dtype).replace(**changes)


def mesh_of(vertices):
    landmarks = torch.zeros(len(vertices), 68, 3, dtype=vertices.dtype)
    return FaceMesh(vertices=vertices, landmarks2d=landmarks, landmarks3d=landmarks)


@pytest.fixture
def scene():
    """Three spheres of 0.09 m, each squeezed and textured in its own way, under three lights."""
    unit, faces, uvs = uv_sphere(480)
    squeeze = torch.tensor([[1.0, 1.0, 1.0], [0.7, 1.2, 0.9], [1.1, 0.6, 1.0]])[:, None]
    light = torch.randn(3, 9, 3) * 0.2
    light[:, 0] += 3
    topology = MeshTopology(faces=faces, uvs=uvs, uv_faces=faces)
    return mesh_of(0.09 * unit * squeeze), topology, torch.rand(3, 3, 16, 16), codes_for(3, light=light)


def test_a_sphere_has_the_normals_of_a_sphere(scene):
    mesh, topology, albedo, codes = scene
    buffers = BufferRenderer(64)(mesh, topology, albedo, codes)
    i, j = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    x, y = (2 * j + 1) / 64 - 1, 1 - (2 * i + 1) / 64  # world: x right, y up
    radius = 8 * 0.09
    core = x**2 + y**2 < (0.9 * radius) ** 2
    outside = x**2 + y**2 > radius**2
    z = (radius**2 - x**2 - y**2).clamp(min=0).sqrt()
    expected = torch.stack([x, y, z]) / radius
    assert (buffers.mask[0, 0][core] == 1).all()
    for name in NAMES:
        assert (getattr(buffers, name)[0][:, outside] == 0).all()
    assert (buffers.normal[0] - expected)[:, core].abs().max() < 0.05


def test_rendered_is_albedo_times_shading_and_never_clamped(scene):
    mesh, topology, albedo, codes = scene
    once = BufferRenderer(32)(mesh, topology, albedo, codes)
    dark = BufferRenderer(32)(mesh, topology, albedo, codes.replace(light=-2 * codes.light))
    torch.testing.assert_close(dark.rendered, -2 * once.rendered)
    assert once.rendered.max() > 0.5 > 0 > dark.rendered.min()
    bright = BufferRenderer(32)(mesh, topology, 5 * albedo, codes)
    torch.testing.assert_close(bright.albedo, 5 * once.albedo)
    assert bright.albedo.max() > 1


def test_texture_row_0_lies_at_v_1(scene):
    mesh, topology, _, codes = scene
    ramp = torch.linspace(1, 0, 16)[:, None].expand(3, 3, 16, 16)  # bright at row 0, so at v = 1, the upper pole
    albedo = BufferRenderer(32)(mesh, topology, ramp, codes).albedo[0, 0]
    assert albedo[8, 16] > 0.6 > 0.4 > albedo[24, 16] > 0


@pytest.mark.parametrize("size", [(40, 56), (200, 300), (300, 500)])  # the largest is rendered one by one on a CPU
def test_an_item_does_not_depend_on_its_batch(scene, size):
    mesh, topology, albedo, codes = scene
    render = BufferRenderer(size)
    together = render(mesh, topology, albedo, codes)
    for item in range(3):
        alone = render(mesh[item], topology, albedo[item : item + 1], codes[item])
        for name in NAMES:
            assert torch.equal(getattr(together[item], name), getattr(alone, name)), name


def test_non_square_pictures_stretch_the_square_one(scene):
    mesh, topology, albedo, codes = scene
    wide = BufferRenderer((32, 96))(mesh, topology, albedo, codes)
    square = BufferRenderer(96)(mesh, topology, albedo, codes)
    assert wide.rendered.shape == (3, 3, 32, 96)
    # Rows of the flat picture are every third row of the square one.
    agree = (wide.mask == square.mask[:, :, 1::3]).float().mean()
    assert agree > 0.99
    both = wide.mask * square.mask[:, :, 1::3]
    assert ((wide.normal - square.normal[:, :, 1::3]) * both).abs().max() < 1e-3


def test_gradients_are_those_of_finite_differences_on_a_non_square_picture():
    generator = torch.Generator().manual_seed(4)
    corners = torch.tensor([[-0.09, -0.08, 0.02], [0.1, -0.07, 0.0], [-0.08, 0.09, -0.01], [0.09, 0.1, 0.03]])
    corners = (corners + 0.01 * torch.rand(2, 4, 3, generator=generator)).double()
    topology = MeshTopology(
        faces=torch.tensor([[0, 1, 2], [2, 1, 3]]),
        uvs=torch.tensor([[0.1, 0.15], [0.9, 0.1], [0.12, 0.9], [0.93, 0.87]]).double(),
        uv_faces=torch.tensor([[0, 1, 2], [2, 1, 3]]),
    )
    albedo = torch.rand(2, 3, 3, 3, generator=generator, dtype=torch.float64)
    light = torch.rand(2, 9, 3, generator=generator, dtype=torch.float64)
    cam = torch.tensor([[7.0, 0.01, -0.01], [8.0, 0.0, 0.005]], dtype=torch.float64)
    tform = torch.tensor([[1.1, 0.1, 0.2], [-0.1, 1.1, 0.3], [0.0, 0.0, 1.0]], dtype=torch.float64).repeat(2, 1, 1)
    render = BufferRenderer((6, 9), crop_size=8)
    weights = torch.randn(2, 9, 6, 9, generator=generator, dtype=torch.float64)
    masks = []

    def buffers(vertices, cam, light, albedo):
        codes = codes_for(2, torch.float64, cam=cam, light=light, tform=tform)
        result = render(mesh_of(vertices), topology, albedo, codes)
        masks.append(result.mask)
        return (result.as_condition() * weights).sum((2, 3))

    inputs = [tensor.requires_grad_() for tensor in (corners, cam, light, albedo)]
    assert torch.autograd.gradcheck(buffers, inputs)
    assert masks[0].sum() > 30
    assert all(torch.equal(mask, masks[0]) for mask in masks), "coverage changed under the finite difference"


def test_tform_moves_the_crop_within_the_aligned_picture(scene):
    mesh, topology, albedo, codes = scene
    plain = BufferRenderer(32, crop_size=32)(mesh, topology, albedo, codes)
    # Aligned pixels are crop pixels plus (3, 5).
    tform = torch.tensor([[1.0, 0.0, -3.0], [0.0, 1.0, -5.0], [0.0, 0.0, 1.0]]).repeat(3, 1, 1)
    moved = BufferRenderer(32, crop_size=32)(mesh, topology, albedo, codes.replace(tform=tform))
    shifted = plain.rendered.roll((5, 3), (2, 3))
    assert (moved.mask == plain.mask.roll((5, 3), (2, 3))).float().mean() > 0.99
    assert ((moved.rendered - shifted) * moved.mask * plain.mask.roll((5, 3), (2, 3))).abs().mean() < 1e-3


def test_the_rasterizer_is_injected(scene):
    mesh, topology, albedo, codes = scene
    asked = []

    def rasterizer(screen_vertices, faces, size):
        asked.append((screen_vertices.shape, size))
        return TorchRasterizer()(screen_vertices, faces, size)

    BufferRenderer((8, 12), rasterizer)(mesh, topology, albedo, codes)
    assert asked == [(mesh.vertices.shape, (8, 12))]


def test_autocast_does_not_touch_the_buffers(scene):
    plain = BufferRenderer(16)(*scene)
    with torch.autocast("cpu", torch.bfloat16):
        cast = BufferRenderer(16)(*scene)
    assert torch.equal(plain.as_condition(), cast.as_condition())


def test_a_face_out_of_view_is_named(scene):
    mesh, topology, albedo, codes = scene
    away = codes.replace(cam=torch.tensor([[8.0, 0, 0], [8.0, 0, 0], [8.0, 3.0, 0]]))
    with pytest.raises(ValueError, match=r"item 2 of 3 covers no pixel: .* x 2\d\.?\d* to 2\d.*Check cam"):
        BufferRenderer(16)(mesh, topology, albedo, away)
    behind = mesh.replace(vertices=mesh.vertices + torch.tensor([0.0, 0.0, 5.0]))
    with pytest.raises(ValueError, match="item 0 of 3 covers no pixel"):
        BufferRenderer(16)(behind, topology, albedo, codes)


def test_mixed_batches_and_bad_sizes_are_named(scene):
    mesh, topology, albedo, codes = scene
    with pytest.raises(ValueError, match="one batch size, got mesh 3, albedo 2, codes 3"):
        BufferRenderer(16)(mesh, topology, albedo[:2], codes)
    with pytest.raises(ValueError, match=r"albedo: expected shape .* got \(3, 16, 16\)"):
        BufferRenderer(16)(mesh, topology, albedo[0], codes)
    with pytest.raises(ValueError, match="mesh and topology belong to different models"):
        BufferRenderer(16)(mesh.replace(vertices=mesh.vertices[:, :9]), topology, albedo, codes)
    with pytest.raises(ValueError, match="image_size=0"):
        BufferRenderer(0)


@pytest.mark.gpu
def test_cuda_gives_the_buffers_of_the_cpu(scene):
    mesh, topology, albedo, codes = scene
    on_gpu = MeshTopology(faces=topology.faces.cuda(), uvs=topology.uvs.cuda(), uv_faces=topology.uv_faces.cuda())
    here = BufferRenderer(64)(mesh, topology, albedo, codes)
    there = BufferRenderer(64)(mesh.to("cuda"), on_gpu, albedo.cuda(), codes.to("cuda")).to("cpu")
    differs = ((here.as_condition() - there.as_condition()).abs() > 1e-4).any(1)
    assert differs.float().mean() < 1e-3
