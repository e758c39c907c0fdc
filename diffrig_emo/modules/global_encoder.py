"""Photo to global code, as a LightningModule."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from diffrig_emo.modules.base import FaceModule
from diffrig_emo.structures import FaceBatch
from diffrig_emo.transforms.ranges import to_signed


class GlobalEncoder(FaceModule):
    """Encode photographs to global codes; it learns inside a `FaceDiffusion`, which shares the network.

    Args:
        encoder: network from (B, 3, H, W) in [-1, 1] to (B, D).
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = encoder

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Global codes of pictures in [0, 1]."""
        code: Tensor = self.encoder(to_signed(image))
        return code

    def predict_step(self, batch: FaceBatch, batch_idx: int = 0) -> Tensor:
        """Global codes (B, D) of `batch["image"]`."""
        code: Tensor = self(batch["image"])
        return code
