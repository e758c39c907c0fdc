"""Photo to global code: what the buffers cannot carry (hair, background, glasses)."""

from __future__ import annotations

from torch import nn

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.structures import Conditioning, FaceBatch
from diffrig_emo.transforms.ranges import to_signed


class GlobalCodeConditioner(Conditioner):
    """Encode the photo itself to one vector, trained jointly with the denoiser.

    Args:
        encoder: network from (B, 3, H, W) in [-1, 1] to (B, D).
        name: name of the vector, as the denoiser's `VectorModulation` expects it.
    """

    def __init__(self, encoder: nn.Module, name: str = "global") -> None:
        super().__init__()
        self.encoder = encoder
        self.name = name

    def forward(self, batch: FaceBatch) -> Conditioning:
        """Conditions from `batch["image"]`: one vector (B, D)."""
        return Conditioning(vectors={self.name: self.encoder(to_signed(batch["image"]))})
