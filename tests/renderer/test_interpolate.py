import math

import torch

from diffrig_emo.renderer import TorchRasterizer, barycentric_fragments, interpolate, vertex_normals
from tests.benchmarks.bench_renderer import uv_sphere

QUAD = torch.tensor([[0, 1, 2], [2, 1, 3]])


def test_interpolated_screen_positions_are_the_pixel_centres(soup):
    screen, faces = soup(2, 100, dtype=torch.float64)
    fragments = TorchRasterizer()(screen, faces, (24, 40))
    (places,) = interpolate(fragments, (screen, faces))
    seen = fragments.pix_to_face >= 0
    x = ((2 * torch.arange(40, dtype=torch.float64) + 1) / 40 - 1).expand(2, 24, 40)
    y = ((2 * torch.arange(24, dtype=torch.float64) + 1) / 24 - 1)[:, None].expand(2, 24, 40)
    # The 1e-8 in the denominator shrinks small faces' weights a little.
    torch.testing.assert_close(places[:, 0][seen], x[seen], atol=1e-5, rtol=0)
    torch.testing.assert_close(places[:, 1][seen], y[seen], atol=1e-5, rtol=0)
    torch.testing.assert_close(places[:, 2][seen] + 10, fragments.zbuf[seen], atol=1e-3, rtol=0)
    assert (places.movedim(1, -1)[~seen] == 0).all()


def test_values_shared_by_the_batch_equal_repeated_ones(soup):
    screen, faces = soup(3, 50)
    fragments = TorchRasterizer()(screen, faces, (24, 24))
    values = torch.randn(150, 4)
    shared, repeated = interpolate(fragments, (values, faces), (values.expand(3, -1, -1), faces))
    assert torch.equal(shared, repeated)


def test_barycentrics_have_the_gradients_of_finite_differences(soup):
    screen, faces = soup(2, 12, dtype=torch.float64)
    pix_to_face = TorchRasterizer()(screen, faces, (5, 7)).pix_to_face
    assert len(pix_to_face.unique()) > 3

    def weights_and_depth(corners):
        fragments = barycentric_fragments(corners, faces, pix_to_face)
        return fragments.bary_coords, fragments.zbuf

    assert torch.autograd.gradcheck(weights_and_depth, screen.requires_grad_())


def test_normals_of_a_sphere_are_its_radii():
    vertices, faces, _ = uv_sphere(9976)
    normals = vertex_normals(torch.stack([vertices, 0.1 * vertices]), faces)
    cosine = (normals * vertices).sum(-1)
    assert cosine.min() > math.cos(math.radians(3))


def test_normals_weigh_faces_by_area():
    # A roof: a face in the plane z = 0 and one of three times its area in the plane x = 0, sharing the y axis.
    roof = torch.tensor([[[0.0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 3]]], dtype=torch.float64)
    normals = vertex_normals(roof, torch.tensor([[0, 2, 1], [0, 1, 3]]))
    torch.testing.assert_close(normals[0, 0], torch.tensor([3.0, 0, 1], dtype=torch.float64) / math.sqrt(10))


def test_normals_of_degenerate_faces_are_zero_with_finite_gradients():
    corners = torch.zeros(1, 4, 3, requires_grad=True)
    normals = vertex_normals(corners, QUAD[:1])
    (gradient,) = torch.autograd.grad(normals.sum(), corners)
    assert (normals == 0).all()
    assert gradient.isfinite().all()


def test_normals_have_the_gradients_of_finite_differences():
    corners = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, QUAD), corners)
