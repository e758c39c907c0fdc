"""The physical buffers: what the renderer hands to the denoiser."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures.base import TensorStruct


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PhysicalBuffers(TensorStruct):
    """Raw renderings of a face: never clamped, never remapped, 0 outside the mesh."""

    rendered: Float[Tensor, "batch 3 height width"]
    """Albedo times spherical-harmonics shading, RGB; may leave [0, 1]."""
    normal: Float[Tensor, "batch 3 height width"]
    """Interpolated world normal (x, y, z) in [-1, 1], not re-normalised."""
    albedo: Float[Tensor, "batch 3 height width"]
    """Texture colour, RGB, about [0, 1]."""
    mask: Float[Tensor, "batch 1 height width"]
    """1 where the mesh covers the pixel centre, else 0."""

    def as_condition(self) -> Float[Tensor, "batch 9 height width"]:
        """Stack the nine channels in the order that DiffusionRig's checkpoints know.

        This is the only place where that order is written.
        """
        return torch.cat([self.rendered, self.normal, self.albedo], dim=1)
