"""The mean albedo and its named directions of variation, painted on the canvas. Colours are sRGB in [0, 1]."""

from __future__ import annotations

import numpy as np

from diffrig_emo.morphable.synthetic_head import anatomy
from diffrig_emo.morphable.synthetic_head.anatomy import Array, smoothstep
from diffrig_emo.morphable.synthetic_head.canvas import (
    Canvas,
    blob,
    brows,
    lid_coordinates,
    lips,
    mottle,
    scalp,
    strands,
)
from diffrig_emo.morphable.synthetic_head.parts import EYE_VIEW

SKIN = (0.780, 0.590, 0.490)
HAIR = (0.235, 0.165, 0.120)
LIP = (0.690, 0.385, 0.365)
IRIS = (0.360, 0.265, 0.190)


class Painting:
    """Layers of the mean face, kept apart so that the directions can reuse their masks."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self.lips, self.lip_line = lips(canvas)
        self.brows, self.scalp = brows(canvas), scalp(canvas)
        self.ear, self.ear_u, self.ear_v = canvas.local["ear"]
        self.lids = canvas.local["inner_lids"][0]
        self.flesh = np.clip(canvas.on_skin + self.ear + self.lids, 0, 1)
        self.bare = self.flesh * (1 - self.scalp) * (1 - 0.85 * self.brows)
        self._paint_lid_masks()
        self._paint_eye_masks()
        self._paint_beard()

    def _paint_lid_masks(self) -> None:
        dx, above, below = lid_coordinates(self.canvas)
        at_eye = self.canvas.on_skin * (self.canvas.xyz[..., 2] > 0.03)
        across = smoothstep(0.0185, 0.0135, np.abs(dx)) * at_eye
        self.lashes = (
            np.exp(-(((above - 0.0002) / 0.0011) ** 2)) * across * (0.75 + 0.25 * smoothstep(-0.012, 0.010, dx))
        )
        self.lower_lashes = np.exp(-((below / 0.0008) ** 2)) * across
        bend = 0.0042 - 0.0012 * (dx / 0.0145) ** 2
        self.crease = np.exp(-(((above - bend) / 0.0011) ** 2)) * smoothstep(0.0170, 0.0110, np.abs(dx)) * at_eye
        self.lid_shade = smoothstep(-0.001, 0.001, above) * np.exp(-((above / 0.0065) ** 2)) * across
        self.under_eye = (
            np.exp(-(((below - 0.0065) / 0.0045) ** 2)) * smoothstep(0.020, 0.010, np.abs(dx + 0.003)) * at_eye
        )

    def _paint_eye_masks(self) -> None:
        inside, u, v = self.canvas.local["eye"]
        x, y = (u - 0.5) * 2, (v - 0.5) * 2
        radius, turn = np.hypot(x, y), np.arctan2(y, x)
        angle = radius ** (1 / 0.7) * EYE_VIEW  # the inverse of parts.eye_reach
        rim = float(np.arcsin(anatomy.IRIS_RADIUS / anatomy.EYE_RADIUS))
        self.eye, self.eye_angle, self.eye_height = inside, angle, angle * np.sin(turn)
        self.pupil = smoothstep(0.175, 0.145, angle) * inside
        self.iris = smoothstep(rim + 0.020, rim - 0.030, angle) * inside
        streaks = 0.5 + 0.5 * np.sin(17 * turn + 2 * np.sin(5 * turn)) * smoothstep(0.12, 0.25, angle)
        self.iris_light = (
            self.iris * (1 - self.pupil) * (0.65 + 0.35 * streaks) * smoothstep(rim + 0.02, rim - 0.09, angle)
        )
        glint_x, glint_y = angle * np.cos(turn) + 0.13, angle * np.sin(turn) - 0.15
        self.glint = np.exp(-(((glint_x**2 + glint_y**2) / 0.070**2) ** 2)) * inside

    def _paint_beard(self) -> None:
        x, y, z = np.abs(self.canvas.xyz[..., 0]), self.canvas.xyz[..., 1], self.canvas.xyz[..., 2]
        top = np.interp(
            x, [0, 0.012, 0.022, 0.030, 0.045, 0.060, 0.075], [-0.037, -0.037, -0.045, -0.056, -0.046, -0.024, 0.0]
        )
        reach = (
            smoothstep(-0.008, 0.010, top - y)
            * smoothstep(-0.135, -0.112, y + 0.25 * (z - 0.06))
            * smoothstep(-0.005, 0.012, z)
        )
        self.beard = reach * (1 - self.lips) * self.canvas.on_skin * (0.85 + 0.15 * strands(self.canvas, 0.004, 0.0012))
        self.beard *= 1 - 0.5 * blob(self.canvas, (0, -67, 88), (16, 3, 30))
        self.moustache = self.beard * blob(self.canvas, (0, -44, 90), (28, 9, 25))

    def mean(self) -> Array:
        """(U, U, 3) mean albedo."""
        canvas = self.canvas
        image = np.zeros((canvas.size, canvas.size, 3)) + np.array(SKIN)
        _blend(image, 0.28 * blob(canvas, (41, -22, 60), (17, 13, 30)), (0.830, 0.500, 0.420))
        _blend(image, 0.30 * blob(canvas, (0, -24, 104), (11, 9, 14)), (0.820, 0.500, 0.420))
        _blend(image, 0.22 * blob(canvas, (0, 60, 85), (40, 18, 40)), (0.820, 0.650, 0.540))
        _blend(image, 0.20 * blob(canvas, (0, -92, 78), (18, 10, 25)), (0.800, 0.540, 0.450))
        self._shade(image)
        _blend(image, 0.10 * self.beard, (0.45, 0.38, 0.36))
        _blend(image, 0.92 * self.lips, LIP)
        _blend(image, 0.30 * self.lips * blob(canvas, (0, -62, 94), (11, 2.6, 20)), (0.86, 0.60, 0.57))
        _blend(image, 0.85 * self.lip_line, (0.330, 0.140, 0.130))
        _blend(image, 0.30 * self.lid_shade, (0.640, 0.440, 0.380))
        _blend(image, 0.45 * self.crease, (0.480, 0.310, 0.250))
        _blend(image, 0.82 * self.brows, HAIR)
        hair = np.array(HAIR) * (0.72 + 0.56 * strands(canvas, 0.012, 0.0022))[..., None]
        _blend(image, 0.94 * self.scalp, hair)
        _blend(image, 0.90 * self.lashes, (0.100, 0.070, 0.060))
        _blend(image, 0.35 * self.lower_lashes, (0.250, 0.160, 0.140))
        self._paint_islands(image)
        return np.asarray(image)

    def _shade(self, image: Array) -> None:
        """Ambient occlusion where light rarely reaches."""
        canvas, dark = self.canvas, (0.400, 0.240, 0.190)
        _blend(image, 0.30 * blob(canvas, (17, 11, 72), (6, 8, 12)), dark)
        _blend(image, 0.35 * blob(canvas, (17.5, -29, 80), (3.0, 7, 9)), dark)
        _blend(image, 0.92 * np.clip(1.7 * blob(canvas, (6.8, -35, 91), (3.1, 2.7, 6)), 0, 1), (0.130, 0.060, 0.050))
        _blend(image, 0.22 * blob(canvas, (0, -70, 88), (15, 3.2, 20)), dark)
        _blend(image, 0.25 * blob(canvas, (26.5, -57, 80), (3.0, 3.0, 9)), dark)
        _blend(image, 0.14 * self.under_eye, (0.540, 0.360, 0.340))
        y, z = canvas.xyz[..., 1], canvas.xyz[..., 2]
        _blend(
            image,
            0.30 * smoothstep(-0.098, -0.125, y) * smoothstep(0.10, 0.04, z) * canvas.on_skin,
            (0.520, 0.340, 0.270),
        )

    def _paint_islands(self, image: Array) -> None:
        self._paint_eye(image)
        u, v = self.ear_u, self.ear_v
        _blend(image, self.ear, (0.790, 0.560, 0.470))
        radius = np.hypot(u - 0.5, v - 0.5)
        rear = smoothstep(0.30, 0.55, u + 0.35 * v)
        bowl = np.exp(-(((u - 0.43) / 0.17) ** 2) - (((v - 0.44) / 0.17) ** 2))
        canal = np.exp(-(((u - 0.33) / 0.07) ** 2) - (((v - 0.45) / 0.07) ** 2))
        groove = np.exp(-(((radius - 0.350) / 0.035) ** 2)) * rear * smoothstep(0.22, 0.40, v)
        fold = np.exp(-(((u - 0.44) / 0.10) ** 2) - (((v - 0.74) / 0.055) ** 2))
        shade = np.clip(0.60 * bowl + 0.50 * groove + 0.30 * fold, 0, 0.85)
        _blend(image, self.ear * shade, (0.450, 0.240, 0.190))
        _blend(image, self.ear * 0.8 * canal, (0.200, 0.090, 0.070))
        _blend(image, self.ear * 0.30 * smoothstep(0.36, 0.44, radius), (0.860, 0.610, 0.520))
        for name, gum in (("teeth_upper", 0.60), ("teeth_lower", 0.58)):
            mask, u, v = self.canvas.local[name]
            gaps = np.array([0.0, 0.125, 0.225, 0.335, 0.45, 0.57, 0.72, 0.88])
            gap = np.exp(-((np.abs(u[..., None] - gaps).min(-1) / 0.014) ** 2))
            arch = gum - 0.10 * gap + 0 * v
            _blend(image, mask, (0.930, 0.900, 0.840))
            _blend(image, mask * 0.55 * gap, (0.560, 0.470, 0.400))
            _blend(image, mask * smoothstep(-0.05, 0.05, v - arch), (0.700, 0.380, 0.370))
            _blend(image, mask * 0.65 * smoothstep(0.30, 1.0, u), (0.240, 0.140, 0.120))
        mask, _, v = self.canvas.local["mouth"]
        _blend(image, mask, (0.115, 0.040, 0.040))
        _blend(image, mask * smoothstep(0.30, 0.08, v), (0.400, 0.180, 0.170))
        mask, u, v = self.canvas.local["tongue"]
        _blend(image, mask, (0.660, 0.330, 0.330))
        _blend(image, mask * (0.7 * smoothstep(0.4, 1.0, v) + 0.25 * np.exp(-((u / 0.12) ** 2))), (0.250, 0.090, 0.090))
        _blend(image, self.lids, (0.700, 0.450, 0.400))

    def _paint_eye(self, image: Array) -> None:
        _blend(image, self.eye, (0.925, 0.910, 0.895))
        _blend(image, 0.35 * self.eye * smoothstep(0.62, 1.05, self.eye_angle), (0.800, 0.560, 0.530))
        _blend(image, self.iris, np.array(IRIS) * 0.45)
        _blend(image, self.iris_light, IRIS)
        _blend(image, self.pupil, (0.030, 0.022, 0.020))
        _blend(image, 0.42 * self.eye * smoothstep(0.12, 0.42, self.eye_height), (0.330, 0.250, 0.240))
        _blend(image, 0.90 * self.glint, (1.0, 1.0, 1.0))

    def directions(self) -> dict[str, Array]:
        """Names to (U, U, 3) changes of albedo per standard deviation."""
        p, c = self, self.canvas
        tone = (
            self.flesh - 0.55 * self.scalp - 0.45 * self.brows - 0.75 * p.lip_line - 0.35 * self.lips - 0.7 * p.lashes
        )
        tone = np.clip(tone, 0, 1)
        hair = np.clip(p.scalp + 0.75 * p.brows, 0, 1)
        thick = brows(c, 1.35) - brows(c, 0.65)
        hairline = scalp(c, -0.004) - scalp(c, 0.004)
        to_hair = np.array(HAIR) - np.array(SKIN)
        is_tooth = np.clip(c.local["teeth_upper"][0] + c.local["teeth_lower"][0], 0, 1)
        changes: dict[str, tuple[Array, tuple[float, float, float] | Array]] = {
            "skin_tone": (tone, (-0.115, -0.115, -0.105)),
            "skin_warmth": (tone, (0.004, -0.002, -0.018)),
            "skin_redness": (self.bare, (0.007, -0.013, -0.009)),
            "blush": (blob(c, (41, -24, 60), (17, 13, 30)), (0.012, -0.018, -0.014)),
            "nose_redness": (blob(c, (0, -24, 102), (15, 10, 18)), (0.009, -0.015, -0.012)),
            "forehead_tone": (blob(c, (0, 58, 80), (55, 24, 50)) * (1 - p.scalp), (0.022, 0.024, 0.024)),
            "lip_red": (p.lips, (0.022, -0.040, -0.026)),
            "lip_dark": (p.lips, (-0.060, -0.050, -0.040)),
            "lip_pink": (p.lips, (0.012, 0.005, 0.024)),
            "brow_dark": (p.brows, (-0.070, -0.062, -0.055)),
            "brow_thickness": (thick, 0.28 * to_hair),
            "brow_position": (brows(c, drop=-0.0012) - brows(c, drop=0.0012), 0.25 * to_hair),
            "hair_lightness": (hair, (0.085, 0.072, 0.052)),
            "hair_red": (hair, (0.038, 0.008, -0.006)),
            "hair_grey": (hair, (0.038, 0.042, 0.044)),
            "hairline": (hairline, 0.12 * to_hair),
            "eye_blue": (p.iris_light, (-0.050, 0.032, 0.085)),
            "eye_green": (p.iris_light, (0.000, 0.075, 0.010)),
            "eye_dark": (p.iris_light, (-0.060, -0.055, -0.045)),
            "stubble": (p.beard, (-0.050, -0.040, -0.034)),
            "moustache": (p.moustache, (-0.050, -0.044, -0.038)),
            "under_eye": (p.under_eye, (-0.045, -0.050, -0.036)),
            "eye_shadow": (p.lid_shade + 0.6 * p.crease, (-0.050, -0.055, -0.045)),
            "lash_dark": (p.lashes + 0.8 * p.lower_lashes, (-0.060, -0.050, -0.045)),
            "mottle_large": (mottle(c, 0.4, 0.034) * self.bare, (0.014, 0.016, 0.016)),
            "mottle_medium": (mottle(c, 2.1, 0.020) * self.bare, (0.010, 0.014, 0.014)),
            "mottle_red": (mottle(c, 4.0, 0.026) * self.bare, (0.006, -0.014, -0.012)),
            "folds": (
                blob(c, (24, -40, 80), (3.5, 12, 14)) + 0.6 * blob(c, (0, 52, 85), (34, 1.6, 40)),
                (-0.055, -0.055, -0.050),
            ),
            "teeth_shade": (is_tooth, (-0.020, -0.035, -0.065)),
            "ear_redness": (self.ear, (0.025, -0.035, -0.030)),
        }
        return {name: mask[..., None] * np.asarray(colour) for name, (mask, colour) in changes.items()}


def _blend(image: Array, mask: Array, colour: tuple[float, float, float] | Array) -> None:
    """Paint `colour` over `image`, in place, with opacity `mask` in [0, 1]."""
    image += mask[..., None] * (np.asarray(colour) - image)
