import numpy as np
import torch

from diffrig_emo.renderer import sh_shading

LAMBERT = np.array([1.0] + [2 * np.pi / 3] * 3 + [np.pi / 4] * 5)  # DECA leaves the first band's pi out


def test_the_nine_functions_are_orthonormal_spherical_harmonics():
    # Gauss-Legendre by uniform azimuth integrates products of second-order harmonics exactly.
    z, dz = np.polynomial.legendre.leggauss(6)
    phi = np.arange(12) * (2 * np.pi / 12)
    r = np.sqrt(1 - z**2)[:, None]
    directions = np.stack([r * np.cos(phi), r * np.sin(phi), np.broadcast_to(z[:, None], (6, 12))])
    normals = torch.from_numpy(directions)[None]
    light = torch.eye(9, dtype=torch.float64).view(3, 3, 9).permute(0, 2, 1)  # three functions per picture
    functions = sh_shading(normals.expand(3, -1, -1, -1), light).reshape(9, 72).numpy() / LAMBERT[:, None]
    weights = np.repeat(dz, 12) * (2 * np.pi / 12)
    np.testing.assert_allclose((functions * weights) @ functions.T, np.eye(9), atol=1e-12)


def test_order_is_that_of_deca():
    # Each coefficient alone, on the axis where only some functions live: 1, x, y, z, xy, xz, yz, x2 - y2, 3z2 - 1.
    half = 0.5**0.5
    axes = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [half, half, 0], [half, 0, half], [0, half, half]])
    normals = axes.T[None, :, None]
    signs = [
        [1, 1, 1, 1, 1, 1],
        [1, 0, 0, 1, 1, 0],
        [0, 1, 0, 1, 0, 1],
        [0, 0, 1, 0, 1, 1],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
        [1, -1, 0, 0, 1, -1],
        [-1, -1, 1, -1, 1, 1],
    ]
    for k, expected in enumerate(signs):
        light = torch.zeros(1, 9, 3)
        light[:, k] = 1
        shading = sh_shading(normals, light)[0, 0, 0].double()
        assert torch.where(shading.abs() < 1e-6, 0, shading.sign()).tolist() == expected


def test_channels_are_lit_apart_and_nothing_is_clamped():
    light = torch.zeros(1, 9, 3)
    light[0, 3] = torch.tensor([1.0, -1.0, 0.0])
    red, green, blue = sh_shading(torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1), light).flatten()
    assert red == -green
    assert red > 1
    assert blue == 0


def test_gradients():
    normals = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    light = torch.randn(2, 9, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sh_shading, (normals, light))
