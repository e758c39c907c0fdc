"""What the texture code does not know about skin: freckles, moles, blotches, and how it shines."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from diffrig_emo.structures import TensorStruct

_MAX_SPOTS, _WINDOW, _BLOTCHES = 90, 7, 12


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Skin(TensorStruct):
    """Skin of somebody."""

    spots: Float[Tensor, "batch n_spots 4"]
    """Freckles and moles: texture coordinates u, v; radius as a fraction of the texture's side; darkness."""
    blotches: Float[Tensor, "batch n_blotches n_blotches"]
    """Coarse map over the texture: relative change of the red-to-green balance."""
    gloss: Float[Tensor, " batch"]
    """Strength of the highlight under a lamp that lends a shading of 1."""
    sharpness: Float[Tensor, " batch"]
    """Blinn-Phong exponent."""

    @classmethod
    def draw(cls, rng: np.random.Generator, sites: Float[np.ndarray, "n 2"]) -> Skin:
        """Draw one skin (batch of 1).

        Args:
            rng: its random generator.
            sites: texture coordinates where spots may sit.
        """
        freckles = int(rng.integers(25, _MAX_SPOTS - 6)) if rng.random() < 0.25 else 0
        moles = int(rng.integers(0, 6))
        spots = np.zeros((_MAX_SPOTS, 4))
        count = freckles + moles
        spots[:count, :2] = sites[rng.integers(len(sites), size=count)] + rng.normal(0, 0.006, (count, 2))
        spots[:freckles, 2] = rng.uniform(0.002, 0.0042, freckles)
        spots[:freckles, 3] = rng.uniform(0.10, 0.30, freckles)
        spots[freckles:count, 2] = rng.uniform(0.0025, 0.006, moles)
        spots[freckles:count, 3] = rng.uniform(0.35, 0.65, moles)
        return cls(
            spots=torch.from_numpy(spots).float()[None],
            blotches=torch.from_numpy(rng.normal(0, 0.02, (_BLOTCHES, _BLOTCHES))).float()[None],
            gloss=torch.tensor([rng.uniform(0.05, 0.4)], dtype=torch.float32),
            sharpness=torch.tensor([rng.uniform(12, 40)], dtype=torch.float32),
        )

    def paint(
        self,
        albedo: Float[Tensor, "batch 3 height width"],
        grid: Float[Tensor, "batch height width 2"],
        map_size: int = 256,
    ) -> Float[Tensor, "batch 3 height width"]:
        """Put spots and blotches on the albedo of a picture.

        Args:
            albedo: colour of the bare skin, RGB.
            grid: texture coordinates of every pixel in `grid_sample`'s frame: [-1, 1], v down.
            map_size: side of the map on which the spots are laid out, texels.
        """
        spots = self._spot_map(map_size)
        spots = grid_sample(spots, grid, align_corners=False)
        blotches = grid_sample(self.blotches[:, None], grid, align_corners=False, padding_mode="border")
        # Melanin takes more blue than red.
        darkened = 1 - spots * spots.new_tensor([0.75, 1.0, 1.1]).view(1, 3, 1, 1)
        return albedo * (1 + blotches * blotches.new_tensor([0.5, -1.0, -1.0]).view(1, 3, 1, 1)) * darkened

    def _spot_map(self, size: int) -> Float[Tensor, "batch 1 size size"]:
        """Darkness of freckles and moles over the texture, 0 to 0.85."""
        x, y = self.spots[..., 0] * size - 0.5, (1 - self.spots[..., 1]) * size - 0.5
        reach = torch.arange(_WINDOW, device=x.device) - _WINDOW // 2
        columns, rows = (t.round().long()[..., None] + reach for t in (x, y))
        radius = (self.spots[..., 2] * size).clamp(min=0.5)[..., None]
        across = torch.exp(-0.5 * ((columns - x[..., None]) / radius) ** 2)
        down = torch.exp(-0.5 * ((rows - y[..., None]) / radius) ** 2)
        darkness = self.spots[..., 3, None, None] * down[..., :, None] * across[..., None, :]
        texel = rows.clamp(0, size - 1)[..., :, None] * size + columns.clamp(0, size - 1)[..., None, :]
        spots = x.new_zeros(len(x), size * size).scatter_add_(1, texel.flatten(1), darkness.flatten(1))
        return spots.view(-1, 1, size, size).clamp(max=0.85)
