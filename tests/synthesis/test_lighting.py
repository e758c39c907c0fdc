from __future__ import annotations

import numpy as np
import torch

from diffrig_emo.renderer import sh_shading
from diffrig_emo.synthesis.lighting import ambient, dominant_light, draw_light, lamp


def sphere(n=400):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(n, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def shading(light, normals):
    picture = torch.from_numpy(normals.T.copy()).float()[None, :, :, None]
    return sh_shading(picture, torch.from_numpy(light).float()[None])[0, :, :, 0].T.numpy()


def test_lamp_is_lamberts_law_to_second_order():
    direction = np.array([0.48, 0.6, 0.64])
    normals = sphere()
    got = shading(lamp(direction, np.array([1.0, 0.5, 0.25])), normals)
    cosine = normals @ direction
    # the clamped cosine's Legendre series, cut after order 2
    wanted = 1 / 4 + cosine / 2 + 5 / 32 * (3 * cosine**2 - 1)
    np.testing.assert_allclose(got, wanted[:, None] * [1.0, 0.5, 0.25], atol=1e-5)
    assert np.abs(got[:, 0] - np.maximum(cosine, 0)).max() < 0.094


def test_ambient_is_the_same_from_everywhere():
    np.testing.assert_allclose(shading(ambient(np.array([0.3, 0.6, 0.9])), sphere(9)), [[0.3, 0.6, 0.9]] * 9, rtol=1e-5)


def test_dominant_light_finds_the_lamp():
    direction, colour = np.array([-0.6, 0.0, 0.8]), np.array([0.9, 0.7, 0.5])
    light = torch.from_numpy(lamp(direction, colour) + ambient(np.ones(3))).float()[None]
    found, strength = dominant_light(light)
    np.testing.assert_allclose(found[0], direction, atol=1e-5)
    np.testing.assert_allclose(strength[0], colour, atol=1e-5)


def test_no_lamp_gives_no_strength():
    direction, strength = dominant_light(torch.zeros(1, 9, 3))
    assert torch.isfinite(direction).all()
    assert strength.abs().max() < 1e-5


def test_drawn_lights_are_exposed():
    frontal = np.array([shading(draw_light(0, i).double().numpy(), np.array([[0.0, 0.0, 1.0]]))[0] for i in range(60)])
    assert frontal.mean(axis=1).min() > 0.74
    assert frontal.mean(axis=1).max() < 1.06
    assert all((shading(draw_light(0, i).double().numpy(), sphere(60)) > -0.12).all() for i in range(60))
