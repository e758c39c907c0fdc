"""What stands behind the face: gradients, walls, windows, stripes, blobs and bokeh, all soft rounded boxes."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures import TensorStruct
from diffrig_emo.synthesis.draws import colour

N_SHAPES = 14


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Background(TensorStruct):
    """A colour gradient with soft shapes painted over it, in order.

    Every shape is a rotated box with round corners and a soft edge: a disc (bokeh, blob), a bar (stripe,
    window frame) and a half plane (wall, floor) are the same thing with other numbers, so a batch of
    unlike backgrounds is painted at once. Lengths are in screen units: the picture spans [-1, 1].
    """

    gradient: Float[Tensor, "batch 2 3"]
    """RGB at the two ends of the gradient."""
    angle: Float[Tensor, " batch"]
    """Direction of the gradient, radians."""
    geometry: Float[Tensor, "batch n_shapes 7"]
    """Centre x, y; half width, half height; corner radius; rotation (radians); width of the soft edge."""
    paint: Float[Tensor, "batch n_shapes 4"]
    """RGB and opacity (0: the shape is absent)."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Background:
        """Draw one background (batch of 1): the kind first, then its shapes."""
        kinds = (_plain, _blobs, _bokeh, _stripes, _room, _outdoors)
        ends, shapes = kinds[rng.choice(len(kinds), p=(0.12, 0.2, 0.2, 0.12, 0.22, 0.14))](rng)
        table = np.zeros((N_SHAPES, 11))
        table[:, 2:4] = table[:, 6] = 1.0
        table[: len(shapes)] = np.asarray(shapes[:N_SHAPES]).reshape(-1, 11)
        numbers = torch.from_numpy(table).float()[None]
        return cls(
            gradient=torch.from_numpy(np.stack(ends)).float()[None],
            angle=torch.tensor([rng.uniform(0, 2 * np.pi)], dtype=torch.float32),
            geometry=numbers[..., :7],
            paint=numbers[..., 7:],
        )

    def render(self, size: int) -> Float[Tensor, "batch 3 size size"]:
        """Paint the backgrounds, RGB in [0, 1].

        Args:
            size: side of the square picture in pixels.
        """
        ticks = (2 * torch.arange(size, device=self.angle.device, dtype=self.angle.dtype) + 1) / size - 1
        y, x = torch.meshgrid(ticks, ticks, indexing="ij")
        cos, sin = (f(self.angle)[:, None, None] for f in (torch.cos, torch.sin))
        ramp = ((x * cos + y * sin) / 2.4 + 0.5).clamp(0, 1)[:, None]
        first, second = (self.gradient[:, i, :, None, None] for i in (0, 1))
        picture = first + ramp * (second - first)
        for geometry, paint in zip(self.geometry.unbind(1), self.paint.unbind(1), strict=True):
            coverage = _box_coverage(x, y, geometry) * paint[:, 3, None, None]
            picture = torch.lerp(picture, paint[:, :3, None, None].expand_as(picture), coverage[:, None])
        return picture.clamp(0, 1)


def _box_coverage(
    x: Float[Tensor, "size size"], y: Float[Tensor, "size size"], geometry: Float[Tensor, "batch 7"]
) -> Float[Tensor, "batch size size"]:
    """Coverage in [0, 1] of a rounded box: the smoothstep of its signed distance over the soft edge."""
    centre_x, centre_y, half_width, half_height, radius, rotation, softness = geometry[..., None, None].unbind(1)
    cos, sin = torch.cos(rotation), torch.sin(rotation)
    dx, dy = x - centre_x, y - centre_y
    across = (dx * cos + dy * sin).abs() - half_width + radius
    along = (dy * cos - dx * sin).abs() - half_height + radius
    outside = torch.hypot(across.clamp(min=0), along.clamp(min=0))
    distance = outside + torch.maximum(across, along).clamp(max=0) - radius
    ramp = (0.5 - distance / softness).clamp(0, 1)
    return ramp * ramp * (3 - 2 * ramp)


Ends = tuple[np.ndarray, np.ndarray]
Shape = tuple[float, ...]


def _shape(
    centre: tuple[float, float],
    half: tuple[float, float],
    rgb: np.ndarray,
    *,
    radius: float = 0.0,
    rotation: float = 0.0,
    softness: float = 0.04,
    opacity: float = 1.0,
) -> Shape:
    return (*centre, *half, radius, rotation, softness, *rgb, opacity)


def _disc(centre: tuple[float, float], radius: float, rgb: np.ndarray, softness: float, opacity: float) -> Shape:
    return _shape(centre, (radius, radius), rgb, radius=radius, softness=softness, opacity=opacity)


def _plain(rng: np.random.Generator) -> tuple[Ends, list[Shape]]:
    """A studio backdrop: one colour, a soft pool of light, darker corners."""
    base = colour(rng)
    pool = _disc((rng.uniform(-0.5, 0.5), rng.uniform(-0.6, 0.4)), 0.3, np.minimum(base + 0.2, 1), 1.6, 0.7)
    return (base, base * rng.uniform(0.55, 0.95)), [pool]


def _blobs(rng: np.random.Generator) -> tuple[Ends, list[Shape]]:
    """Something far out of focus."""
    palette = [colour(rng) for _ in range(4)]
    shapes = [
        _shape(
            (rng.uniform(-1.1, 1.1), rng.uniform(-1.1, 1.1)),
            (rng.uniform(0.15, 0.6), rng.uniform(0.15, 0.6)),
            palette[rng.integers(4)] * rng.uniform(0.7, 1.2),
            radius=0.12,
            rotation=rng.uniform(0, np.pi),
            softness=rng.uniform(0.3, 0.7),
            opacity=rng.uniform(0.5, 0.95),
        )
        for _ in range(rng.integers(6, N_SHAPES + 1))
    ]
    return (palette[0], palette[1]), shapes


def _bokeh(rng: np.random.Generator) -> tuple[Ends, list[Shape]]:
    """Lights at night or sun through leaves."""
    base = colour(rng) * rng.uniform(0.25, 0.7)
    hues = [colour(rng) for _ in range(3)]
    radius = rng.uniform(0.06, 0.2)
    shapes = [
        _disc(
            (rng.uniform(-1.1, 1.1), rng.uniform(-1.1, 0.9)),
            radius * rng.uniform(0.7, 1.3),
            np.minimum(hues[rng.integers(3)] * 0.6 + 0.4, 1),
            rng.uniform(0.03, 0.07),
            rng.uniform(0.2, 0.75),
        )
        for _ in range(rng.integers(8, N_SHAPES + 1))
    ]
    return (base, base * rng.uniform(0.4, 0.8)), shapes


def _stripes(rng: np.random.Generator) -> tuple[Ends, list[Shape]]:
    """Panelling, blinds, a curtain."""
    base, other = colour(rng), colour(rng)
    count = int(rng.integers(4, 10))
    rotation = float(rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)]))
    softness, opacity, fill = rng.uniform(0.02, 0.15), rng.uniform(0.3, 0.9), rng.uniform(0.25, 0.6)
    shapes = []
    for offset in np.linspace(-1.3, 1.3, count) + rng.uniform(-0.1, 0.1):
        centre = (float(offset * np.cos(rotation)), float(offset * np.sin(rotation)))
        half = (1.3 / count * fill * 2, 3.0)
        shapes.append(_shape(centre, half, other, rotation=rotation, softness=softness, opacity=opacity))
    return (base, base * rng.uniform(0.7, 1.0)), shapes


def _room(rng: np.random.Generator) -> tuple[Ends, list[Shape]]:
    """Two walls, perhaps a window, a picture and a piece of furniture."""
    wall, blur = colour(rng, saturation=0.25), rng.uniform(0.03, 0.12)
    corner, tilt = rng.uniform(-1, 1), rng.uniform(-0.06, 0.06)
    side = 1.0 if rng.random() < 0.5 else -1.0
    shapes = [_shape((corner + side * 3, 0), (3, 4), wall * rng.uniform(0.6, 0.9), rotation=tilt, softness=blur)]
    for _ in range(rng.integers(1, 4)):
        centre, half = (
            (rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 0.1)),
            (rng.uniform(0.12, 0.4), rng.uniform(0.15, 0.5)),
        )
        light = rng.random() < 0.5
        frame, pane = (np.full(3, 0.9), np.full(3, rng.uniform(0.85, 1))) if light else (colour(rng) * 0.4, colour(rng))
        inner = (half[0] * 0.85, half[1] * 0.88)
        shapes += [
            _shape(centre, half, frame, rotation=tilt, softness=blur),
            _shape(centre, inner, pane, rotation=tilt, softness=blur),
        ]
        if light:
            shapes.append(_shape(centre, (0.015, half[1]), frame * 0.8, rotation=tilt, softness=blur))
    floor = colour(rng) * 0.7
    shapes.append(_shape((0, rng.uniform(0.5, 1.2) + 2), (4, 2), floor, rotation=tilt, softness=blur, opacity=0.9))
    return (wall, wall * rng.uniform(0.75, 1.0)), shapes


def _outdoors(rng: np.random.Generator) -> tuple[Ends, list[Shape]]:
    """Sky, a line of trees or houses, and the ground."""
    sky = np.array([0.55, 0.72, 0.92]) * rng.uniform(0.75, 1.08) + rng.uniform(-0.06, 0.06, 3)
    ground = np.array([0.3, 0.42, 0.2]) * rng.uniform(0.6, 1.3) + rng.uniform(-0.08, 0.08, 3)
    horizon, blur = rng.uniform(-0.4, 0.5), rng.uniform(0.05, 0.2)
    shapes = []
    houses = rng.random() < 0.5
    for x in np.linspace(-1.1, 1.1, int(rng.integers(4, 9))):
        half = (rng.uniform(0.12, 0.3), rng.uniform(0.2, 0.6))
        tone = colour(rng, saturation=0.3) * 0.8 if houses else ground * rng.uniform(0.5, 0.9)
        round_corner = 0.0 if houses else min(half) * 0.9
        centre = (float(x + rng.uniform(-0.1, 0.1)), horizon)
        shapes.append(_shape(centre, half, tone, radius=round_corner, softness=blur, opacity=0.9))
    shapes.append(_shape((0, horizon + 2.05), (4, 2), ground, softness=blur))
    return (sky, np.minimum(sky * 1.1, 1)), shapes
