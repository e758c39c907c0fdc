"""Codes to physical buffers to spatial conditions."""

from __future__ import annotations

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.morphable.base import FaceModel, TextureModel
from diffrig_emo.renderer.buffers import BufferRenderer
from diffrig_emo.structures import Conditioning, FaceBatch, FaceCodes, PhysicalBuffers


class BufferConditioner(Conditioner):
    """Render a batch's codes and hand the nine buffer channels to the denoiser (DiffusionRig, section 3).

    Buffers are rendered on the fly on the model's device: a face is then about 1 KB of codes on disk,
    not the 2.36 MB of three float32 pictures at 256 pixels.

    Args:
        face_model: codes to mesh.
        texture: texture code to albedo map.
        renderer: mesh and albedo to buffers, at the size of the denoiser's pictures.
    """

    def __init__(self, face_model: FaceModel, texture: TextureModel, renderer: BufferRenderer) -> None:
        super().__init__()
        self.face_model = face_model
        self.texture = texture
        self.renderer = renderer

    def render(self, codes: FaceCodes) -> PhysicalBuffers:
        """Physical buffers of a batch of codes."""
        mesh = self.face_model(codes)
        buffers: PhysicalBuffers = self.renderer(mesh, self.face_model.topology, self.texture(codes.tex), codes)
        return buffers

    def forward(self, batch: FaceBatch) -> Conditioning:
        """Conditions from `batch["codes"]`: `spatial` (B, 9, H, W)."""
        return Conditioning(spatial=self.render(batch["codes"]).as_condition())
