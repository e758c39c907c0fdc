"""Photo to codes, as a LightningModule."""

from __future__ import annotations

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from torchvision.transforms.functional import resize

from diffrig_emo.conditioning.buffers import BufferConditioner
from diffrig_emo.losses.codes import CodeLoss
from diffrig_emo.modules.base import FaceModule
from diffrig_emo.morphable.base import FaceModel, MorphableEncoder, TextureModel
from diffrig_emo.renderer.buffers import BufferRenderer
from diffrig_emo.structures import FaceBatch, FaceCodes, FaceCrop


class FaceEncoder(FaceModule):
    """Read codes off photographs.

    It learns from known codes (`CodeLoss`) and, when it is given a face model, a texture and a renderer,
    from the photograph itself: the rendering of the predicted codes must look like it wherever the face is.

    Args:
        encoder: network from crop to codes.
        face_model: codes to mesh, for the photometric loss.
        texture: texture code to albedo, for the photometric loss.
        renderer: mesh to buffers at the size of the batch's pictures, for the photometric loss.
        code_loss: distance between codes; the default weighs all groups alike.
        photometric_weight: weight of the photometric loss (mean absolute difference in [0, 1]).
        optimizer: optimizer factory.
        lr_scheduler: learning-rate scheduler factory, stepped once per optimizer step; None keeps the rate.
        seed: with step and rank, fixes all randomness of training.

    Raises:
        ValueError: when only some of face model, texture and renderer are given.
    """

    def __init__(
        self,
        encoder: MorphableEncoder,
        face_model: FaceModel | None = None,
        texture: TextureModel | None = None,
        renderer: BufferRenderer | None = None,
        code_loss: CodeLoss | None = None,
        photometric_weight: float = 1.0,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, seed)
        self.save_hyperparameters()
        self.encoder = encoder
        self.code_loss = code_loss or CodeLoss()
        self.photometric_weight = photometric_weight
        self.bridge: BufferConditioner | None = None
        if face_model is not None and texture is not None and renderer is not None:
            self.bridge = BufferConditioner(face_model, texture, renderer)
        elif not (face_model is None and texture is None and renderer is None):
            raise ValueError(
                "FaceEncoder: the photometric loss needs face_model, texture and renderer together; "
                "give all three, or none for code regression alone"
            )

    def forward(self, crop: FaceCrop) -> FaceCodes:
        """Codes of a batch of crops."""
        codes: FaceCodes = self.encoder(crop)
        return codes

    def encode(self, batch: FaceBatch) -> FaceCodes:
        """Codes of `batch["image"]`, taken whole as the encoder's crop."""
        size = [self.encoder.image_size, self.encoder.image_size]
        return self.forward(FaceCrop(image=resize(batch["image"], size, antialias=True)))

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """One step on photographs with known codes."""
        return self._loss(batch, "train")

    def validation_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """The same losses on held-out faces."""
        return self._loss(batch, "val")

    def test_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """The same losses on test faces."""
        return self._loss(batch, "test")

    def predict_step(self, batch: FaceBatch, batch_idx: int = 0) -> FaceCodes:
        """Codes of `batch["crop"]`; where there is none, of `batch["image"]`."""
        return self.forward(batch["crop"]) if "crop" in batch else self.encode(batch)

    def photometric_loss(self, codes: FaceCodes, image: Tensor) -> Tensor:
        """Mean absolute difference between the rendering of the codes and the photo, inside the rendering."""
        if self.bridge is None:
            raise ValueError("FaceEncoder.photometric_loss needs face_model, texture and renderer at construction")
        buffers = self.bridge.render(codes)
        difference = (buffers.rendered - image).abs() * buffers.mask
        return difference.sum() / (3 * buffers.mask.sum()).clamp(min=1)

    def _loss(self, batch: FaceBatch, stage: str) -> Tensor:
        codes = self.encode(batch)
        losses = self.code_loss(codes, batch["codes"])
        loss = torch.stack(list(losses.values())).mean()
        if self.bridge is not None and self.photometric_weight > 0:
            losses["photometric"] = self.photometric_loss(codes, batch["image"])
            loss = loss + self.photometric_weight * losses["photometric"]
        size = batch["image"].shape[0]
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=size)
        self.log_dict({f"{stage}/{name}": value for name, value in losses.items()}, batch_size=size)
        return loss
