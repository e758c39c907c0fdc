"""Glasses: tube frames hung on the landmarks of the unposed face."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffrig_emo.structures import TensorStruct
from diffrig_emo.synthesis.draws import colour

_RIM_POINTS, _TUBE_SIDES, _BAR_POINTS = 28, 5, 6


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Glasses(TensorStruct):
    """A pair of glasses, or none."""

    worn: Float[Tensor, " batch"]
    """1 if there are any, else 0."""
    colour: Float[Tensor, "batch 3"]
    """Albedo of the frame, RGB."""
    size: Float[Tensor, "batch 3"]
    """Half width and half height of a lens, radius of the tube; metres."""
    squareness: Float[Tensor, " batch"]
    """Exponent of the rim's superellipse: 2 is an ellipse, 5 nearly a rectangle."""
    glare: Float[Tensor, " batch"]
    """Opacity of the sky mirrored in the lenses."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Glasses:
        """Draw one pair (batch of 1); three faces in ten wear one."""
        worn = rng.random() < 0.3
        tones = (np.full(3, 0.04), np.array([0.22, 0.12, 0.06]), np.full(3, 0.5), colour(rng) * 0.8)
        frame = tones[rng.choice(4, p=(0.45, 0.2, 0.2, 0.15))]
        height = rng.uniform(0.013, 0.021)
        size = (rng.uniform(0.0205, 0.0245), height, rng.uniform(0.0006, 0.0021))
        numbers = (frame, size, rng.uniform(2.0, 4.5), rng.uniform(0, 0.22))
        tone, dimensions, squareness, glare = (torch.as_tensor(n, dtype=torch.float32) for n in numbers)
        return cls(
            worn=torch.tensor([float(worn)]),
            colour=tone[None],
            size=dimensions[None],
            squareness=squareness[None],
            glare=glare[None],
        )


class GlassesMesh:
    """Triangles of rims, bridge and temples; the lenses come last.

    Attributes:
        faces: (n_faces, 3) triangles of the frame over its own vertices.
        lens_faces: (n_lens_faces, 3) triangles of the two lenses over the same vertices.
        n_vertices: number of vertices.
    """

    def __init__(self) -> None:
        rim = _tube_faces(_RIM_POINTS, closed=True)
        bar = _tube_faces(_BAR_POINTS, closed=False)
        rim_size, bar_size = _RIM_POINTS * _TUBE_SIDES, _BAR_POINTS * _TUBE_SIDES
        starts = [0, rim_size, 2 * rim_size, 2 * rim_size + bar_size, 2 * rim_size + 2 * bar_size]
        self.faces = torch.cat([rim, rim + starts[1], *(bar + start for start in starts[2:])])
        first_lens = starts[-1] + bar_size
        fan = torch.arange(_RIM_POINTS)
        lens = torch.stack([torch.full_like(fan, _RIM_POINTS), fan, (fan + 1) % _RIM_POINTS], dim=-1)
        self.lens_faces = torch.cat([lens + first_lens, lens + first_lens + _RIM_POINTS + 1])
        self.n_vertices = first_lens + 2 * (_RIM_POINTS + 1)

    def vertices(self, glasses: Glasses, landmarks: Float[Tensor, "batch 68 3"]) -> Float[Tensor, "batch n_vertices 3"]:
        """Fit the glasses to unposed landmarks, metres; parked far away where none are worn."""
        eyes = [landmarks[:, 36:42].mean(dim=1), landmarks[:, 42:48].mean(dim=1)]
        front = landmarks[:, 27, 2:] + 0.004  # just before the root of the nose
        width, height, radius = (glasses.size[:, i, None] for i in range(3))
        angle = torch.arange(_RIM_POINTS) * (2 * torch.pi / _RIM_POINTS)
        power = 2 / glasses.squareness[:, None]
        rim_x = width * angle.cos().sign() * angle.cos().abs() ** power
        rim_y = height * angle.sin().sign() * angle.sin().abs() ** power
        rims, lenses = [], []
        for eye in eyes:
            x = eye[:, :1] + eye[:, :1].sign() * 0.002 + rim_x
            bend = 1.6 * x.abs().clamp(min=0.01) ** 2  # rims follow the face's curve
            rim = torch.stack([x, eye[:, 1:2] - 0.002 + rim_y, front - bend + 0.001], dim=-1)
            rims.append(rim)
            lenses.append(torch.cat([rim, rim.mean(dim=1, keepdim=True)], dim=1))
        span = torch.linspace(0, 1, _BAR_POINTS)[:, None]
        bars = [_bridge(rims[0], rims[1], span)]
        for rim, side, ear in ((rims[0], -1, landmarks[:, 0]), (rims[1], 1, landmarks[:, 16])):
            outer = (rim[..., 0] * side).argmax(dim=1)
            hinge = rim[torch.arange(len(rim)), outer] + rim.new_tensor([side * 0.002, 0.004, -0.001])
            hook = torch.stack([ear[:, 0] + side * 0.006, hinge[:, 1] - 0.002, ear[:, 2] - 0.025], dim=-1)
            bars.append(hinge[:, None] + span * (hook - hinge)[:, None])
        tubes = [_tube(rim, radius, closed=True) for rim in rims] + [_tube(bar, radius, closed=False) for bar in bars]
        return torch.cat([*tubes, *lenses], dim=1) + 100.0 * (glasses.worn < 0.5)[:, None, None]


def _bridge(
    right: Float[Tensor, "batch n 3"], left: Float[Tensor, "batch n 3"], span: Float[Tensor, "m 1"]
) -> Float[Tensor, "batch m 3"]:
    """Arch between the inner points of the two rims, a little above the middle of the lenses."""
    rows = torch.arange(len(right))
    start = right[rows, (right[..., 0] + 0.3 * right[..., 1]).argmax(dim=1)]
    end = left[rows, (-left[..., 0] + 0.3 * left[..., 1]).argmax(dim=1)]
    arch = torch.sin(span * torch.pi) * span.new_tensor([0.0, 0.003, 0.003])
    return start[:, None] + span * (end - start)[:, None] + arch


def _tube(
    path: Float[Tensor, "batch n 3"], radius: Float[Tensor, "batch 1"], *, closed: bool
) -> Float[Tensor, "batch n_vertices 3"]:
    """Rings of vertices around a path."""
    along = (
        path.roll(-1, dims=1) - path.roll(1, dims=1)
        if closed
        else path.diff(dim=1, append=path[:, -1:] * 2 - path[:, -2:-1])
    )
    along = torch.nn.functional.normalize(along, dim=-1)
    helper = path.new_tensor([0.31, 0.17, 0.93] if closed else [0.1, 0.99, 0.12]).expand_as(path)
    first = torch.nn.functional.normalize(torch.linalg.cross(along, helper), dim=-1)
    second = torch.linalg.cross(along, first)
    angle = torch.arange(_TUBE_SIDES) * (2 * torch.pi / _TUBE_SIDES)
    ring = first[:, :, None] * angle.cos()[:, None] + second[:, :, None] * angle.sin()[:, None]
    tube: Tensor = (path[:, :, None] + radius[:, None, None] * ring).flatten(1, 2)
    return tube


def _tube_faces(points: int, *, closed: bool) -> Int[Tensor, "n_faces 3"]:
    ring = torch.arange(points if closed else points - 1)[:, None]
    side = torch.arange(_TUBE_SIDES)[None]
    following, beside = (ring + 1) % points, (side + 1) % _TUBE_SIDES
    a, b = (ring * _TUBE_SIDES + side).flatten(), (ring * _TUBE_SIDES + beside).flatten()
    c, d = (following * _TUBE_SIDES + beside).flatten(), (following * _TUBE_SIDES + side).flatten()
    return torch.cat([torch.stack([a, b, c], dim=-1), torch.stack([a, c, d], dim=-1)])
