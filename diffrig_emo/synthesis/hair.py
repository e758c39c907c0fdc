"""Hair and beard: a shell over the skin that dives under it where no hair grows, and a curtain of long hair.

The z-buffer cuts the shell along the line where its offset from the skin changes sign, so one fixed mesh
gives every hairline, fringe, beard and bald head of a batch.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from diffrig_emo.structures import TensorStruct
from diffrig_emo.synthesis.draws import colour

_CENTRE = (0.0, 0.030, -0.012)  # of the skull; the angles below are seen from here, mean head, metres
# Azimuth from the nose (degrees) and elevation of the mean hairline: forehead, temple, sideburn, ear, nape.
_AZIMUTH = (0.0, 25.0, 45.0, 58.0, 68.0, 76.0, 84.0, 98.0, 106.0, 130.0, 180.0)
_HAIRLINE = (35.0, 35.0, 30.0, 16.0, -4.0, -16.0, 4.0, 4.0, -24.0, -44.0, -52.0)
_DYES = ((0.05, 0.04, 0.04), (0.34, 0.21, 0.11), (0.42, 0.17, 0.07), (0.72, 0.58, 0.34), (0.80, 0.79, 0.77))
_SUNK = 0.008  # how deep the shell runs under the skin where no hair grows, metres
_CURTAIN_COLUMNS, _CURTAIN_ROWS = 30, 14


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Hair(TensorStruct):
    """How somebody wears hair and beard. Lengths in metres, angles in radians, seen from the skull's centre."""

    colour: Float[Tensor, "batch 3"]
    """Albedo, RGB."""
    thickness: Float[Tensor, "batch 3"]
    """At the crown, at the sides, of the beard; negative: none grows there."""
    hairline: Float[Tensor, "batch 3"]
    """Forehead lowered by, temples raised by, fringe lowered by."""
    bumps: Float[Tensor, "batch 2"]
    """Height of the locks, and their number per metre."""
    waves: Float[Tensor, "batch 6 4"]
    """Random directions and phases of the locks."""
    curtain: Float[Tensor, "batch 4"]
    """Long hair: length below the ears (negative: none), azimuth of its front edge, flare, waviness."""

    @classmethod
    def draw(cls, rng: np.random.Generator, natural: Float[np.ndarray, " 3"]) -> Hair:
        """Draw one hair style (batch of 1).

        Args:
            rng: its random generator.
            natural: RGB of the hair that the texture paints on the scalp; most people wear that colour.
        """
        styles = ("bald", "cropped", "short", "full", "curly", "bob", "long")
        style = styles[rng.choice(len(styles), p=(0.06, 0.13, 0.25, 0.14, 0.10, 0.12, 0.20))]
        low, high = {
            "bald": (-_SUNK, -_SUNK),
            "cropped": (0.003, 0.005),
            "short": (0.007, 0.014),
            "full": (0.016, 0.026),
            "curly": (0.026, 0.045),
            "bob": (0.010, 0.018),
            "long": (0.008, 0.016),
        }[style]
        crown, worn_long = rng.uniform(low, high), style in ("bob", "long")
        side = crown * {"short": rng.uniform(0.35, 0.9), "full": 0.6}.get(style, 0.9) if crown > 0 else crown
        fringe = rng.uniform(0.25, 0.45) if worn_long * 0.2 + 0.15 > rng.random() and style != "bald" else 0.0
        beard = rng.uniform(0.002, 0.006) if not worn_long and rng.random() < 0.3 else -_SUNK
        tone = natural
        if rng.random() < 0.2:
            tone = np.asarray(_DYES[rng.integers(len(_DYES))]) if rng.random() < 0.85 else colour(rng) * 0.8
        locks = {"curly": (0.007, 75.0), "full": (0.004, 45.0), "short": (0.002, 60.0)}.get(style, (0.001, 60.0))
        length = {"bob": rng.uniform(0.04, 0.09), "long": rng.uniform(0.12, 0.24)}.get(style, -1.0)
        curtain = (length, np.deg2rad(rng.uniform(58, 84)), rng.uniform(0.98, 1.22), rng.uniform(0, 0.005))

        def row(values: object) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=torch.float32)[None]

        return cls(
            colour=row(np.clip(tone * rng.uniform(0.85, 1.2) + rng.normal(0, 0.008, 3), 0.02, 0.9)),
            thickness=row((crown, side, beard)),
            hairline=row((rng.normal(0, 0.06), max(rng.normal(0.02, 0.09), -0.05), fringe)),
            bumps=row((locks[0] * rng.uniform(0.6, 1.3), locks[1] * rng.uniform(0.8, 1.2))),
            waves=row(np.concatenate([rng.normal(size=(6, 3)), rng.uniform(0, 2 * np.pi, (6, 1))], axis=1)),
            curtain=row(curtain),
        )


class HairMesh:
    """Turns `Hair` into triangles on the heads of one face model.

    Args:
        template: vertices of the mean head, (V, 3), metres.
        faces: its triangles, (F, 3).
        skin: vertices on which hair and beard may grow.

    Attributes:
        faces: (n_faces, 3) triangles of shell and curtain over their own vertices.
        rest: (n_vertices, 3) positions on the mean head, which the strands follow.
    """

    def __init__(
        self, template: Float[Tensor, "n_vertices 3"], faces: Int[Tensor, "n_faces 3"], skin: Int[Tensor, " n_skin"]
    ) -> None:
        azimuth, elevation = _angles(template)
        line = torch.from_numpy(np.interp(azimuth.rad2deg(), _AZIMUTH, _HAIRLINE)).float().deg2rad()
        beard = _beard_field(template)
        grows = (elevation > line - 0.6) | (beard > -0.012)
        bare = torch.ones(len(template), dtype=torch.bool)
        bare[skin] = False
        keep = faces[(grows & ~bare)[faces].all(dim=1)]
        self._skin, local = torch.unique(keep, return_inverse=True)
        self._azimuth, self._elevation = azimuth[self._skin], elevation[self._skin]
        self._line, self._beard = line[self._skin], beard[self._skin]
        gap = torch.cdist(template[self._skin], template[bare]).amin(dim=1)
        self._free = ((gap - 0.001) / 0.006).clamp(0, 1)  # fades to nothing beside ears, eyes and lips
        columns = torch.linspace(-1, 1, _CURTAIN_COLUMNS)
        self._column, self._row = (
            t.flatten() for t in torch.meshgrid(columns, torch.linspace(0, 1, _CURTAIN_ROWS), indexing="ij")
        )
        self.faces = torch.cat([local, _grid_faces(_CURTAIN_COLUMNS, _CURTAIN_ROWS) + len(self._skin)])
        turn = self._column * 2.4
        curtain_rest = torch.stack([turn.sin() * 0.1, 0.06 - 0.25 * self._row, -turn.cos() * 0.1], dim=-1)
        self.rest = torch.cat([template[self._skin], curtain_rest])

    def shell(
        self,
        hair: Hair,
        vertices: Float[Tensor, "batch n_vertices 3"],
        normals: Float[Tensor, "batch n_vertices 3"],
    ) -> Float[Tensor, "batch n_shell 3"]:
        """Lift the hairy part of the skin off itself; it follows pose, shape and expression with the skin."""
        skin, outwards = vertices[:, self._skin], normals[:, self._skin]
        return skin + self._offset(hair)[..., None] * outwards

    def _offset(self, hair: Hair) -> Float[Tensor, "batch n_shell"]:
        rest = self.rest[: len(self._skin)]
        crown, side, beard = (hair.thickness[:, i, None] for i in range(3))
        front = torch.exp(-((self._azimuth / 0.75) ** 2))
        temple = torch.exp(-(((self._azimuth - 0.8) / 0.3) ** 2))
        lowered, raised, fringe = (hair.hairline[:, i, None] for i in range(3))
        wave = hair.waves[..., None]
        along = rest[:, 0] * wave[:, :, 0] + rest[:, 1] * wave[:, :, 1] + rest[:, 2] * wave[:, :, 2]
        noise = torch.sin(along * hair.bumps[:, 1, None, None] + wave[:, :, 3]).mean(dim=1)
        line = self._line - lowered * front + raised * temple - fringe * front + 0.06 * noise
        above = self._elevation - line
        sideness = torch.sigmoid((0.55 - self._elevation) * 6) * (1 - front)
        thickness = crown + (side - crown) * sideness
        locks = hair.bumps[:, :1] * noise * (thickness > 0)
        grown = (thickness + locks) * (1 - torch.exp(-above.clamp(min=0) / 0.16))
        scalp = torch.where(above > 0, grown, (above * 0.05).clamp(min=-_SUNK)).clamp(min=-_SUNK)
        stubble = torch.where(self._beard > 0, beard.clamp(max=1) * (self._beard / 0.006).clamp(max=1), self._beard)
        chin = torch.where(beard > 0, stubble + 0.0006 * noise, -_SUNK).clamp(min=-_SUNK)
        # Beside lips and ears the skin is thin: a deeper shell would come out on the other side.
        return torch.maximum(scalp, chin) * self._free - 0.0008 * (1 - self._free)

    def curtain(self, hair: Hair, neutral: Float[Tensor, "batch n_vertices 3"]) -> Float[Tensor, "batch n_curtain 3"]:
        """Long hair around the back and sides of the unposed head; parked far away where there is none."""
        skull = neutral[:, self._skin]
        half_width = skull[..., 0].abs().amax(dim=1)[:, None]
        back = -skull[..., 2].amin(dim=1)[:, None]
        length, edge, flare, wave = (hair.curtain[:, i, None] for i in range(4))
        turn = torch.pi + self._column * (torch.pi - edge)  # azimuth around the head, pi at the nape
        down = self._row
        puff = hair.thickness[:, 1, None].clamp(min=0) + 0.011
        profile = 0.80 + 0.20 * (down / 0.18).clamp(max=1) + (flare - 1) * down - 0.12 * (down - 0.5).clamp(min=0)
        ripple = wave * torch.sin(9 * turn + 14 * down + hair.waves[:, 0, 3:]) * (down / 0.3).clamp(max=1)
        across = (half_width + puff) * profile + ripple
        behind = (back + puff - 0.012) * profile + ripple
        depth = torch.where(turn.cos() > 0, 0.6 * across, behind)
        top, bottom = 0.062, -0.015 - length + 0.010 * torch.sin(23 * turn + hair.waves[:, 1, 3:])
        points = torch.stack(
            [across * turn.sin(), top + (bottom - top) * down, -0.012 + depth * turn.cos()],
            dim=-1,
        )
        return points + 100.0 * (length < 0)[..., None]


def _angles(points: Float[Tensor, "n 3"]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Azimuth (0 at the nose, pi at the nape, both sides alike) and elevation about the skull's centre."""
    x, y, z = (points - points.new_tensor(_CENTRE)).unbind(-1)
    return torch.atan2(x.abs(), z), torch.atan2(y, torch.hypot(x, z))


def _beard_field(points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """Distance inside the bearded area of the mean face, metres; negative outside."""
    x, y, z = points.unbind(-1)
    cheek = -0.040 + 0.55 * (x.abs() - 0.030).clamp(min=0) + 0.10 * (0.075 - z).clamp(min=0)
    mouth = torch.hypot(x / 0.0275, (y + 0.0565) / 0.0100)
    return torch.minimum(torch.minimum(cheek - y, (mouth - 1) * 0.012), torch.minimum(z - 0.0, y + 0.118))


def _grid_faces(columns: int, rows: int) -> Int[Tensor, "n_faces 3"]:
    index = torch.arange(columns * rows).view(columns, rows)
    a, b, c, d = (t.flatten() for t in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    return torch.cat([torch.stack([a, b, c], dim=-1), torch.stack([a, c, d], dim=-1)])


def strand_tone(rest: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1 height width"]:
    """Lighter and darker strands that run away from the crown: a factor of the hair's colour.

    Args:
        rest: where each pixel's hair lies on the unposed mean head, metres.
    """
    x, y, z = rest.unbind(1)
    around = torch.atan2(x, -(z + 0.045)) / torch.pi
    down = torch.hypot(x, z + 0.045) - y
    strands = _strand_texture().to(rest).expand(len(rest), -1, -1, -1)
    coarse, fine = (
        grid_sample(
            strands, torch.stack([around * a, down * d], dim=-1), align_corners=False, padding_mode="reflection"
        )
        for a, d in ((1.3, 3.0), (4.1, 5.0))
    )
    return (1 + 0.24 * coarse + 0.18 * fine).clamp(0.35, 1.8)


@functools.cache
def _strand_texture() -> Float[Tensor, "1 1 32 256"]:
    """Noise that is rough across and smooth along the strands, mean 0, deviation 1."""
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, 8, 256))).float()
    smooth = interpolate(noise, (32, 256), mode="bicubic")
    return (smooth - smooth.mean()) / smooth.std()
