from __future__ import annotations

import math

import pytest
import torch

from diffrig_emo.renderer import TorchRasterizer
from diffrig_emo.synthesis.shading import cast_shadow, highlight, lamp_screen, shade, shoulder


def quad(half, z):
    return torch.tensor([[-half, -half, z], [half, -half, z], [half, half, z], [-half, half, z]])


def test_a_small_square_shades_what_lies_behind_it():
    """A square 3 cm before a wall, lit from 45 degrees to the right: its shadow lies as far to the left."""
    vertices = torch.cat([quad(0.1, 0.0), quad(0.02, 0.03)])[None]
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    direction = torch.tensor([[math.sqrt(0.5), 0.0, math.sqrt(0.5)]])
    centre = torch.zeros(1, 1, 3)
    x = torch.linspace(-0.08, 0.08, 33)
    wall = torch.stack([x, torch.zeros_like(x), torch.full_like(x, 0.004)], dim=-1)[None]  # a little before it
    seen = lamp_screen(wall, centre, direction)[0].T[None, :, None]
    lamp_vertices = lamp_screen(vertices, centre, direction)
    hidden = cast_shadow(TorchRasterizer(), lamp_vertices, faces, seen)[0, 0, 0]
    assert (hidden[(x + 0.026).abs() < 0.012] == 1).all()
    assert (hidden[(x + 0.026).abs() > 0.026] == 0).all()


def test_lamp_screen_keeps_distances():
    points = torch.tensor([[[0.0, 0.0, 0.0], [0.03, 0.04, 0.0]]])
    seen = lamp_screen(points, torch.zeros(1, 1, 3), torch.tensor([[0.6, 0.0, 0.8]]))
    assert float((seen[0, 1] - seen[0, 0]).norm()) == pytest.approx(0.05 / 0.16, rel=1e-5)
    nearer = lamp_screen(torch.tensor([[[0.06, 0.0, 0.08]]]), torch.zeros(1, 1, 3), torch.tensor([[0.6, 0.0, 0.8]]))
    torch.testing.assert_close(nearer[0, 0], torch.tensor([0.0, 0.0, -0.1 / 0.16]), atol=1e-6, rtol=0)


def test_shadow_takes_the_lamp_and_leaves_the_room():
    light = torch.zeros(1, 9, 3)
    light[:, 0] = 3.0
    normal = torch.tensor([0.0, 0.0, 1.0]).view(1, 3, 1, 1)
    direction, lamp = torch.tensor([[0.0, 0.0, 1.0]]), torch.full((1, 3), 0.3)
    lit = shade(normal, light, direction, lamp, torch.zeros(1, 1, 1, 1)).flatten()
    dark = shade(normal, light, direction, lamp, torch.ones(1, 1, 1, 1)).flatten()
    torch.testing.assert_close(lit, torch.full((3,), 3 * 0.2820948), atol=1e-5, rtol=0)
    assert (dark < lit - 0.2).all()
    assert (dark > 0.4).all()
    assert dark[0] > dark[2]


def test_highlight_peaks_half_way_to_the_lamp():
    half = torch.tensor([0.6, 0.0, 0.8])
    direction = 2 * (half @ torch.tensor([0.0, 0.0, 1.0])) * half - torch.tensor([0.0, 0.0, 1.0])
    normals = torch.stack([half * 0.5, torch.tensor([0.0, 0.0, 1.0])], dim=1)[None, :, :, None]
    one = torch.ones(1, 1, 2, 1)
    gleam = highlight(normals, direction[None], torch.ones(1, 3), 0.5 * one, 4 * one)[0, 0, :, 0]
    torch.testing.assert_close(gleam, torch.tensor([0.5, 0.5 * 0.8**4]), atol=1e-5, rtol=0)


def test_shoulder_is_smooth_and_below_one():
    x = torch.linspace(0, 4, 2001, dtype=torch.float64)
    y = shoulder(x)
    assert torch.equal(y[x <= 0.8], x[x <= 0.8])
    slope = y.diff() / x.diff()
    assert (slope > 0).all()
    assert slope.diff().abs().max() < 0.02
    assert y.max() < 1
