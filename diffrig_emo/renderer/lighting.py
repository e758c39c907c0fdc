"""Light on a surface: second-order spherical harmonics, and DECA's point and directional lights."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

SH_CONSTANTS = (
    1 / math.sqrt(4 * math.pi),
    *(2 * math.pi / 3 * math.sqrt(3 / (4 * math.pi)),) * 3,
    *(3 * math.pi / 4 * math.sqrt(5 / (12 * math.pi)),) * 3,
    3 * math.pi / 8 * math.sqrt(5 / (12 * math.pi)),
    math.pi / 8 * math.sqrt(5 / (4 * math.pi)),
)
"""Factors of the nine basis functions; those of bands 1 and 2 include the Lambertian kernel."""


def sh_shading(
    normals: Float[Tensor, "batch 3 height width"], light: Float[Tensor, "batch 9 3"]
) -> Float[Tensor, "batch 3 height width"]:
    """Shading of a Lambertian surface under distant light given as nine spherical-harmonics coefficients.

    `shading_c = sum_k light[k, c] c_k h_k(n)` with `h = 1, x, y, z, xy, xz, yz, x^2 - y^2, 3 z^2 - 1`
    (Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", 2001, in the order and
    with the constants of DECA, Feng et al. 2021).

    Args:
        normals: world normals (x, y, z); used as they are, not re-normalised.
        light: coefficients, basis by RGB (`FaceCodes.light`).

    Returns:
        Factor of the albedo, RGB; not clamped, it may be negative.

    Example:
        >>> ahead = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
        >>> light = torch.zeros(1, 9, 3)
        >>> light[:, 0] = 1 / SH_CONSTANTS[0]
        >>> sh_shading(ahead, light).flatten().round(decimals=3).tolist()
        [1.0, 1.0, 1.0]
    """
    x, y, z = normals.unbind(1)
    basis = torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * (z * z) - 1], dim=1)
    weights = light * light.new_tensor(SH_CONSTANTS)[:, None]
    return torch.bmm(weights.transpose(1, 2), basis.flatten(2)).view(normals.shape)


def point_shading(
    positions: Float[Tensor, "batch 3 height width"],
    normals: Float[Tensor, "batch 3 height width"],
    lights: Float[Tensor, "batch n_lights 6"],
) -> Float[Tensor, "batch 3 height width"]:
    """Shading by point lights without fall-off, the mean over the lights, as DECA defines it.

    Args:
        positions: world points of the surface, metres.
        normals: world normals.
        lights: world position (metres) and RGB intensity of every light.

    Returns:
        Factor of the albedo, RGB; not clamped: what faces away from a light is negative.
    """
    places, intensities = lights[..., :3], lights[..., 3:]
    to_light = functional.normalize(places[..., None, None] - positions.unsqueeze(1), dim=2)
    cosine = (normals.unsqueeze(1) * to_light).sum(2, keepdim=True)
    shading: Tensor = (cosine * intensities[..., None, None]).mean(1)
    return shading


def directional_shading(
    normals: Float[Tensor, "batch 3 height width"], lights: Float[Tensor, "batch n_lights 6"]
) -> Float[Tensor, "batch 3 height width"]:
    """Shading by parallel lights, the mean over the lights.

    DiffusionRig's renderer negates the intensities together with the directions; here only directions turn.

    Args:
        normals: world normals.
        lights: world direction in which the light travels (any length), and RGB intensity, of every light.

    Returns:
        Factor of the albedo, RGB; what faces away from a light gets 0 from it.

    Example:
        >>> ahead = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
        >>> directional_shading(ahead, torch.tensor([[[0.0, 0.0, -2.0, 1.0, 0.5, 0.25]]])).flatten().tolist()
        [1.0, 0.5, 0.25]
    """
    directions, intensities = lights[..., :3], lights[..., 3:]
    to_light = functional.normalize(-directions, dim=2)[..., None, None]
    cosine = (normals.unsqueeze(1) * to_light).sum(2, keepdim=True).clamp(0, 1)
    shading: Tensor = (cosine * intensities[..., None, None]).mean(1)
    return shading
