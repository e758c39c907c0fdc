"""Collar and shoulders below the neck."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures import TensorStruct
from diffrig_emo.synthesis.draws import colour

_COLUMNS = 40
# From the collar outwards: half width, half depth, height, depth of the ring's centre; metres, mean head.
_RINGS = torch.tensor(
    [
        [0.062, 0.064, -0.118, -0.026],
        [0.070, 0.070, -0.132, -0.026],
        [0.088, 0.080, -0.146, -0.028],
        [0.130, 0.092, -0.160, -0.030],
        [0.178, 0.102, -0.180, -0.030],
        [0.205, 0.108, -0.215, -0.030],
        [0.215, 0.112, -0.300, -0.030],
    ]
)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Clothes(TensorStruct):
    """A plain or striped top."""

    colours: Float[Tensor, "batch 2 3"]
    """Albedo of cloth and stripes, RGB."""
    stripes: Float[Tensor, " batch"]
    """Stripes per metre of height; on plain cloth both colours are the same."""
    neckline: Float[Tensor, " batch"]
    """How far the front of the collar is lowered, metres."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Clothes:
        """Draw one top (batch of 1)."""
        cloth = colour(rng) * rng.uniform(0.3, 1)
        other = colour(rng) if rng.random() < 0.3 else cloth
        colours = torch.from_numpy(np.stack([cloth, other])).float()
        stripes = torch.tensor([rng.uniform(40, 110)], dtype=torch.float32)
        return cls(
            colours=colours[None],
            stripes=stripes,
            neckline=torch.tensor([rng.choice([0.0, 0.012, 0.035])], dtype=torch.float32),
        )

    def pattern(self, rest: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Albedo of the cloth.

        Args:
            rest: where each pixel's cloth lies on the unposed body, metres.
        """
        stripe = torch.sigmoid(8 * torch.sin(rest[:, 1:2] * self.stripes[:, None, None, None] * 2 * torch.pi))
        cloth, other = (self.colours[:, i, :, None, None] for i in (0, 1))
        return cloth + stripe * (other - cloth)


class ClothesMesh:
    """Rings from the collar to the upper arms.

    Attributes:
        faces: (n_faces, 3) triangles.
        rest: (n_vertices, 3) the mean top, metres.
    """

    def __init__(self) -> None:
        turn = torch.arange(_COLUMNS) * (2 * torch.pi / _COLUMNS)
        width, depth, height, centre = (column[:, None] for column in _RINGS.unbind(1))
        self._frontness = (turn.cos().clamp(min=0) ** 2).expand(len(_RINGS), -1).flatten()
        self._collar = torch.tensor([1.0, 1.0, 0.8, 0.4, 0.1, 0.0, 0.0])[:, None].expand(-1, _COLUMNS).flatten()
        slope = 0.02 * turn.cos() * (width - 0.062) / 0.1
        rings = torch.stack([width * turn.sin(), height - slope, centre + depth * turn.cos()], dim=-1)
        self.rest = rings.flatten(0, 1)
        row = torch.arange(len(_RINGS) - 1)[:, None] * _COLUMNS
        here, beside = torch.arange(_COLUMNS)[None], (torch.arange(_COLUMNS) + 1)[None] % _COLUMNS
        a, b = (row + here).flatten(), (row + beside).flatten()
        c, d = b + _COLUMNS, a + _COLUMNS
        self.faces = torch.cat([torch.stack([a, c, b], dim=-1), torch.stack([a, d, c], dim=-1)])

    def vertices(self, clothes: Clothes) -> Float[Tensor, "batch n_vertices 3"]:
        """The tops of upright bodies, metres."""
        lowered = clothes.neckline[:, None] * self._frontness * self._collar
        down = torch.stack([torch.zeros_like(lowered), -lowered, lowered * 0.3], dim=-1)
        return self.rest + down
