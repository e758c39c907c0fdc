"""Codes to physical buffers, as a LightningModule."""

from __future__ import annotations

from diffrig_emo.conditioning.buffers import BufferConditioner
from diffrig_emo.modules.base import FaceModule
from diffrig_emo.morphable.base import FaceModel, TextureModel
from diffrig_emo.renderer.buffers import BufferRenderer
from diffrig_emo.structures import FaceBatch, FaceCodes, PhysicalBuffers


class FaceRenderer(FaceModule):
    """Render codes: `trainer.predict(FaceRenderer(...), data)` gives the buffers of every face.

    It has nothing to learn; gradients flow through it to the codes.

    Args:
        face_model: codes to mesh.
        texture: texture code to albedo map.
        renderer: mesh and albedo to buffers.
    """

    def __init__(self, face_model: FaceModel, texture: TextureModel, renderer: BufferRenderer) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.bridge = BufferConditioner(face_model, texture, renderer)

    def forward(self, codes: FaceCodes) -> PhysicalBuffers:
        """Physical buffers of a batch of codes.

        Raises:
            StructError: when the codes belong to another space than the face model's.
        """
        return self.bridge.render(codes)

    def predict_step(self, batch: FaceBatch, batch_idx: int = 0) -> PhysicalBuffers:
        """Buffers of `batch["codes"]`, refusing codes that are not finite."""
        return self.bridge.render(batch["codes"].require_finite())
