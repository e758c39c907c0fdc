"""Plots of a few curves beside each other, drawn with Pillow alone."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
"""Okabe and Ito's palette, told apart by the colour-blind; its yellow, too pale for lines, is replaced."""
_GREY, _GRID, _INK = "#777777", "#E4E4E4", "#222222"
_WIDTH, _HEIGHT = 640, 440
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 24, 44, 64
_LEGEND_ROW = 26
_CORNERS = ((6, -6, "ls"), (6, 7, "lt"), (-6, -6, "rs"), (-6, 7, "rt"))
"""Where a curve writes beside its points, and the anchor of what it writes: neighbours write elsewhere."""
_FINE = 3
"""Everything is drawn this many times larger and reduced: smooth lines."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Points of one series in order, joined by a line; a name keeps its colour across panels."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    labels: Sequence[str]
    """A word beside each point; may be empty."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    levels: dict[str, float] = dataclasses.field(default_factory=dict)
    """Named heights, drawn as dashed lines."""
    marks: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    """Named points beside the curves."""
    log_x: bool = False
    """Logarithmic x axis; all x must then be above 0."""


def draw_panels(panels: Sequence[Panel]) -> Float[Tensor, "3 height width"]:
    """Draw panels side by side, one legend for all below them.

    Args:
        panels: at least one. Points that are not finite are left out.

    Returns:
        The picture, RGB in [0, 1].

    Raises:
        ValueError: when there is no panel, or one without a finite point.

    Example:
        >>> curve = Curve("ddim", [0.1, 0.2], [20.0, 22.0], ["5", "10"])
        >>> tuple(draw_panels([Panel("Quality", "seconds", "PSNR, dB", [curve])]).shape)
        (3, 474, 640)
    """
    if not panels:
        raise ValueError("expected at least one panel, got none")
    names = list(dict.fromkeys(curve.name for panel in panels for curve in panel.curves))
    per_row = max(1, len(panels) * 2)
    rows = math.ceil(len(names) / per_row)
    size = (_WIDTH * len(panels), _HEIGHT + _LEGEND_ROW * rows + 8)
    image = Image.new("RGB", (size[0] * _FINE, size[1] * _FINE), "white")
    pen = _Pen(image)
    for number, panel in enumerate(panels):
        _draw_panel(pen, panel, _WIDTH * number, names)
    for number, name in enumerate(names):
        row, column = divmod(number, per_row)
        x, y = _LEFT + column * (size[0] - _LEFT) // per_row, _HEIGHT + _LEGEND_ROW * row + 8
        pen.line([(x, y), (x + 26, y)], *_style(number)[:1], width=2)
        pen.marker(x + 13, y, *_style(number))
        pen.text(x + 34, y, name, anchor="lm")
    small = image.resize(size, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


def _style(number: int) -> tuple[str, int]:
    return _COLOURS[number % len(_COLOURS)], number // len(_COLOURS) % 3


class _Pen:
    """Draws in final pixels on the larger picture."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image
        self.draw = ImageDraw.Draw(image)

    def line(self, points: Sequence[tuple[float, float]], colour: str, width: float = 1.0) -> None:
        self.draw.line([(x * _FINE, y * _FINE) for x, y in points], colour, round(width * _FINE), joint="curve")

    def dashes(self, x_0: float, x_1: float, y: float, colour: str) -> None:
        for x in np.arange(x_0, x_1, 9.0):
            self.line([(float(x), y), (min(float(x) + 5, x_1), y)], colour)

    def marker(self, x: float, y: float, colour: str, shape: int) -> None:
        x, y, r = x * _FINE, y * _FINE, 4.5 * _FINE
        if shape == 0:
            self.draw.ellipse((x - r, y - r, x + r, y + r), colour, "white", _FINE)
        else:
            sides, turn = ((4, 45), (3, 0))[shape - 1]
            self.draw.regular_polygon((x, y, 1.25 * r), sides, turn, colour, "white")

    def cross(self, x: float, y: float, colour: str) -> None:
        for s in (-1, 1):
            self.line([(x - 4, y - 4 * s), (x + 4, y + 4 * s)], colour, 1.6)

    def text(
        self, x: float, y: float, text: str, anchor: str, colour: str = _INK, size: int = 13, halo: bool = False
    ) -> None:
        font = ImageFont.load_default(size * _FINE)
        width = 2 * _FINE if halo else 0
        self.draw.text((x * _FINE, y * _FINE), text, colour, font, anchor, stroke_width=width, stroke_fill="white")

    def upright(self, x: float, y: float, text: str) -> None:
        """Text from bottom to top, centred at y."""
        font = ImageFont.load_default(13 * _FINE)
        width, height = round(font.getlength(text)) + 4, 20 * _FINE
        label = Image.new("RGB", (width, height), "white")
        ImageDraw.Draw(label).text((2, height / 2), text, _INK, font, "lm")
        self.image.paste(label.rotate(90, expand=True), (round(x * _FINE), round(y * _FINE - width / 2)))


def _draw_panel(pen: _Pen, panel: Panel, left: float, names: Sequence[str]) -> None:
    points = [
        [(x, y, label) for x, y, label in zip(c.x, c.y, c.labels, strict=True) if math.isfinite(x) and math.isfinite(y)]
        for c in panel.curves
    ]
    xs = [p[0] for curve in points for p in curve] + [x for x, _ in panel.marks.values()]
    ys = [p[1] for curve in points for p in curve] + [y for _, y in panel.marks.values()] + list(panel.levels.values())
    if not xs:
        raise ValueError(f"panel {panel.title!r}: expected at least one finite point, got none")
    x_0, x_1 = left + _LEFT, left + _WIDTH - _RIGHT
    place_x, x_ticks = _axis(xs, x_0, x_1, panel.log_x)
    place_y, y_ticks = _axis(ys, _HEIGHT - _BOTTOM, _TOP, False)
    for value in x_ticks:
        pen.line([(place_x(value), _TOP), (place_x(value), _HEIGHT - _BOTTOM)], _GRID)
        pen.text(place_x(value), _HEIGHT - _BOTTOM + 8, f"{value:g}", anchor="mt")
    for value in y_ticks:
        pen.line([(x_0, place_y(value)), (x_1, place_y(value))], _GRID)
        pen.text(x_0 - 8, place_y(value), f"{value:g}", anchor="rm")
    corners = [(x_0, _TOP), (x_0, _HEIGHT - _BOTTOM), (x_1, _HEIGHT - _BOTTOM)]
    pen.line(corners, _INK, 1.2)
    pen.text((x_0 + x_1) / 2, 14, panel.title, anchor="mt", size=15)
    pen.text((x_0 + x_1) / 2, _HEIGHT - 18, panel.x_label, anchor="mm")
    pen.upright(left + 8, (_TOP + _HEIGHT - _BOTTOM) / 2, panel.y_label)
    for name, value in panel.levels.items():
        pen.dashes(x_0, x_1, place_y(value), _GREY)
        pen.text(x_1 - 4, place_y(value) - 4, name, anchor="rs", colour=_GREY, size=12, halo=True)
    for name, (x, y) in panel.marks.items():
        pen.cross(place_x(x), place_y(y), _GREY)
        pen.text(place_x(x) + 8, place_y(y), name, anchor="lm", colour=_GREY, size=12, halo=True)
    # Lines, then words, then markers: no word hides a point.
    drawn = [
        (names.index(curve.name), [(place_x(x), place_y(y), label) for x, y, label in finite])
        for curve, finite in zip(panel.curves, points, strict=True)
    ]
    for number, placed in drawn:
        if len(placed) > 1:
            pen.line([(x, y) for x, y, _ in placed], _style(number)[0], 1.6)
    for number, placed in drawn:
        right, below, anchor = _CORNERS[number % 4]
        for x, y, label in placed:
            pen.text(x + right, y + below, label, anchor, _style(number)[0], size=12, halo=True)
    for number, placed in drawn:
        for x, y, _ in placed:
            pen.marker(x, y, *_style(number))


def _axis(
    values: Sequence[float], start: float, stop: float, log: bool
) -> tuple[Callable[[float], float], list[float]]:
    """From values to pixels between start and stop, and round values inside."""
    scale = math.log10 if log else float
    low, high = scale(min(values)), scale(max(values))
    margin = 0.08 * (high - low) or max(abs(high) * 0.05, 0.1)
    low, high = low - margin, high + margin

    def place(value: float) -> float:
        return start + (scale(value) - low) / (high - low) * (stop - start)

    return place, _log_ticks(low, high) if log else _ticks(low, high)


def _ticks(low: float, high: float) -> list[float]:
    """At most seven multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / 7
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten; where that is too few, plain round numbers."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [m * 10.0**p for p in powers for m in (1, 2, 5) if low <= math.log10(m) + p <= high]
    return ticks if len(ticks) > 2 else [t for t in _ticks(10**low, 10**high) if t > 0]
