"""Lamps as spherical harmonics, and back: the light that shades the buffers is the light of the photograph."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.synthesis.draws import generator

# Real spherical harmonics Y_lm without their normals, in the renderer's order: 1, x, y, z, xy, xz, yz, x^2-y^2, 3z^2-1.
_Y = np.sqrt(np.array([1, 3, 3, 3, 15, 15, 15, 15 / 4, 5 / 4]) / (4 * np.pi))
# The renderer's constants hold the clamped cosine's weights A_1 = 2 pi / 3 and A_2 = pi / 4, but not A_0 = pi.
_CONSTANT_BAND = 1 / _Y[0]


def lamp(direction: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Coefficients (9, 3) of a distant lamp: shading `colour * max(n . direction, 0)`, to second order.

    Ramamoorthi and Hanrahan, "An Efficient Representation for Irradiance Environment Maps" (2001), eq. 11.

    Args:
        direction: unit vector from the face to the lamp, world.
        colour: RGB shading where the surface faces the lamp.

    Example:
        >>> light = lamp(np.array([0.0, 0.0, 1.0]), np.ones(3))
        >>> constants = np.array([0.2821, 1.0233, 1.0233, 1.0233, 0.8581, 0.8581, 0.8581, 0.4290, 0.2477])
        >>> facing_it = np.array([1, 0, 0, 1, 0, 0, 0, 0, 2])  # the basis at n = (0, 0, 1)
        >>> (light[:, 0] * constants * facing_it).sum().round(2)
        np.float64(1.06)
    """
    x, y, z = direction
    basis = np.array([np.pi, x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1])
    return np.asarray((_Y * basis)[:, None] * colour)


def ambient(colour: np.ndarray) -> np.ndarray:
    """Coefficients (9, 3) of light that is the same from everywhere: shading `colour`."""
    coefficients = np.zeros((9, 3))
    coefficients[0] = colour * _CONSTANT_BAND
    return coefficients


def draw_light(seed: int, picture: int) -> Float[Tensor, "9 3"]:
    """Draw a plausible light: a key lamp, a weaker fill from the other side, and the room's own light.

    Exposed so that a surface facing the camera gets a shading of 0.75 to 1.05.

    Args:
        seed: seed of the data set.
        picture: number of the picture.
    """
    rng = generator(seed, "light", picture)
    azimuth, elevation = np.deg2rad(rng.uniform(-75, 75)), np.deg2rad(rng.uniform(-5, 60))
    key = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    fill = np.array([-key[0], rng.uniform(-0.3, 0.4), max(key[2], 0.3)])
    warmth = rng.normal(0, 0.06) * np.array([1, 0.1, -1])
    strength = rng.uniform(0.25, 0.9)
    light = (
        ambient((1 - 0.55 * strength) * (1 - 0.6 * warmth + rng.normal(0, 0.02, 3)))
        + lamp(key, strength * (1 + warmth))
        + lamp(fill / np.linalg.norm(fill), rng.uniform(0, 0.3) * strength * (1 - warmth))
        + lamp(np.array([0.0, 1.0, 0.0]), rng.uniform(0, 0.25) * np.ones(3))
    )
    frontal = light[0] * _Y[0] + light[3] * _Y[3] * 2 * np.pi / 3 + light[8] * _Y[8] * np.pi / 2
    return torch.from_numpy(light * rng.uniform(0.75, 1.05) / frontal.mean()).float()


def dominant_light(
    light: Float[Tensor, "batch 9 3"],
) -> tuple[Float[Tensor, "batch 3"], Float[Tensor, "batch 3"]]:
    """Read the strongest lamp off the linear band, whatever the light was made of.

    Args:
        light: spherical-harmonics coefficients, basis by RGB.

    Returns:
        Unit direction to the lamp (world), and its colour: the shading of a surface that faces it.
    """
    linear = light[:, 1:4] / float(_Y[1])
    direction = torch.nn.functional.normalize(linear.mean(dim=2) + linear.new_tensor([0.0, 0.0, 1e-6]), dim=1)
    return direction, torch.einsum("bd,bdc->bc", direction, linear).clamp(min=0)
