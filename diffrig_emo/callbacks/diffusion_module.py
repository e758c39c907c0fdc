"""What these callbacks ask of a module: modules and callbacks do not import each other."""

from __future__ import annotations

from typing import Any, Protocol, cast

import lightning as L
from torch import Tensor, nn

from diffrig_emo.diffusion.schedules import NoiseSchedule
from diffrig_emo.structures import Conditioning, FaceBatch, FaceCodes


class DiffusionModule(Protocol):
    """`FaceDiffusion` and its subclasses, or a module of yours with the same methods."""

    schedule: NoiseSchedule
    conditioners: nn.ModuleList

    def __call__(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        """Predict."""

    def condition(self, batch: FaceBatch) -> Conditioning:
        """Conditions of a batch."""

    def encode(self, image: Tensor) -> Tensor:
        """What the denoiser works on."""

    def invert(self, image: Tensor, conditioning: Conditioning) -> Tensor:
        """Latents of pictures."""

    def sample(self, conditioning: Conditioning, noise: Tensor) -> Tensor:
        """Pictures from latents."""

    def edit(self, batch: FaceBatch, codes: FaceCodes | None = None, *, latent: Tensor | None = None) -> Tensor:
        """Pictures with other codes."""


def as_diffusion(module: L.LightningModule, callback: Any) -> DiffusionModule:
    """The module, if it is one of diffusion.

    Raises:
        ValueError: when it is another one, naming the callback.
    """
    lacking = [name for name in ("condition", "encode", "invert", "sample", "edit") if not hasattr(module, name)]
    if lacking:
        raise ValueError(
            f"{type(callback).__name__}: expected a FaceDiffusion, got a {type(module).__name__}, which has no "
            f"{', '.join(lacking)}; take the callback out of trainer.callbacks"
        )
    return cast(DiffusionModule, module)
