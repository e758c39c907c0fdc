"""Predictions to picture files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import BasePredictionWriter

from diffrig_emo.io.images import write_image


class ImageWriter(BasePredictionWriter):
    """Write every predicted picture as PNG, named by the index of its face.

    Args:
        output_dir: folder of the pictures; made when needed.
    """

    def __init__(self, output_dir: str = "predictions") -> None:
        super().__init__(write_interval="batch")
        self.output_dir = Path(output_dir)

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write one batch of pictures (B, 3, H, W) in [0, 1]."""
        for index, image in zip(batch["index"].tolist(), prediction, strict=True):
            write_image(self.output_dir / f"{index:06d}.png", image)
