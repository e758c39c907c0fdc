"""Photo to global code: what the buffers cannot carry (hair, background, glasses)."""

from __future__ import annotations

import torch
from torch import nn
from typing_extensions import Self

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.structures import Conditioning, FaceBatch
from diffrig_emo.transforms.ranges import to_signed


class GlobalCodeConditioner(Conditioner):
    """Encode the photo itself to one vector.

    The encoder is trained jointly with the denoiser, or frozen, as when a model is personalised (Ding et al.,
    "DiffusionRig", 2023, section 3.3).

    Args:
        encoder: network from (B, 3, H, W) in [-1, 1] to (B, D).
        name: name of the vector, as the denoiser's `VectorModulation` expects it.
        frozen: the encoder learns nothing: its weights get no gradient, and it is in eval mode whatever `train()` says.
        batchnorm_train: a frozen encoder still follows `train()`, so that its BatchNorm sees statistics of the batch
            and averages them, as in DiffusionRig's own second stage. For comparison; codes are steadier without.

    Raises:
        ValueError: when `batchnorm_train` is asked of an encoder that is not frozen, which follows `train()` anyway.

    Example:
        >>> from diffrig_emo.diffusion import ResNet18GlobalEncoder
        >>> conditioner = GlobalCodeConditioner(ResNet18GlobalEncoder(dim=64), frozen=True).train()
        >>> conditioner.encoder.training, any(p.requires_grad for p in conditioner.parameters())
        (False, False)
    """

    def __init__(
        self, encoder: nn.Module, name: str = "global", frozen: bool = False, batchnorm_train: bool = False
    ) -> None:
        super().__init__()
        if batchnorm_train and not frozen:
            raise ValueError("batchnorm_train: expected frozen=True with it; a trained encoder follows train() anyway")
        self.encoder = encoder
        self.name = name
        self.frozen = frozen
        self.batchnorm_train = batchnorm_train
        if frozen:
            encoder.requires_grad_(False)
            self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts but a frozen encoder."""
        super().train(mode)
        if self.frozen and not self.batchnorm_train:
            self.encoder.eval()
        return self

    def forward(self, batch: FaceBatch) -> Conditioning:
        """Conditions from `batch["image"]`: one vector (B, D)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            return Conditioning(vectors={self.name: self.encoder(to_signed(batch["image"]))})
