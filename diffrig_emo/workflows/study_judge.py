"""What the study measures: edits of faces whose true edits are known, read by encoders."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.conditioning import BufferConditioner
from diffrig_emo.conditioning.reencode import reencode
from diffrig_emo.metrics.functional.codes import code_errors
from diffrig_emo.metrics.functional.image import edit_regions, psnr, ssim
from diffrig_emo.modules import ExpressionRecognizer
from diffrig_emo.morphable import MorphableEncoder
from diffrig_emo.morphable.synthetic_head import emotion_preset
from diffrig_emo.structures import FaceBatch, FaceCodes, face_collate
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.synthesis.population import N_EMOTIONS
from diffrig_emo.transforms.edits import transfer_expression

DRIFTS = {"beta_drift": "shape", "texture_drift": "tex", "pose_drift": "global_rotation", "light_drift": "light"}
"""Names of the drifts, and the groups of codes that they are of."""


class StudyFaces:
    """Faces that no training has seen, the edits wanted of them, and the true edits.

    Every face takes the expression of the next one, and, apart from that, one of the eight emotions.

    Args:
        faces: where they come from.
        numbers: which of them.
        bridge: renders codes, for the face's region.
    """

    def __init__(self, faces: SyntheticFaces, numbers: Sequence[int], bridge: BufferConditioner) -> None:
        self.batch: FaceBatch = face_collate(faces.__getitems__(numbers))
        codes = self.batch["codes"]
        n = codes.batch_size
        self.target = transfer_expression(codes, codes[torch.arange(n).roll(-1)])
        self.labels = torch.arange(n) % N_EMOTIONS
        self.emotions = with_emotions(codes, self.labels)
        self.true_edit = faces.photograph(numbers, codes=self.target)
        """As a camera takes it, with noise: what encoders read."""
        self.clean_edit = faces.photograph(numbers, codes=self.target, clean=True)
        """Without: what pictures are compared with."""
        self.true_emotions = faces.photograph(numbers, codes=self.emotions)
        """The true edits to `emotions`, with noise."""
        clean = faces.photograph(numbers, clean=True)
        with torch.no_grad():
            self._rendered = tuple(bridge.render(c) for c in (codes, self.target, self.emotions))
        before, after, _ = self._rendered
        self.regions = edit_regions(clean, self.clean_edit, torch.maximum(before.mask, after.mask))

    def render_deltas(self) -> tuple[Tensor, Tensor]:
        """Edits without learning, to `target` and to `emotions`: photographs plus the change of their renderings."""
        before, *after = self._rendered
        first, second = ((self.batch["image"] + (a.rendered - before.rendered)).clamp(0, 1) for a in after)
        return first, second

    def with_codes(self, codes: FaceCodes) -> FaceBatch:
        """The faces, with codes to edit to."""
        return FaceBatch(**{**self.batch, "target_codes": codes})

    @torch.no_grad()
    def figures(
        self,
        edit: Float[Tensor, "faces 3 height width"],
        emotion_edit: Float[Tensor, "faces 3 height width"] | None,
        judge: MorphableEncoder,
        guide: MorphableEncoder,
        recognizer: ExpressionRecognizer,
    ) -> dict[str, float]:
        """Everything the table tells of one system.

        Args:
            edit: edits to `target`, RGB in [0, 1].
            emotion_edit: edits to `emotions`; None where a system has none.
            judge: the encoder that no system was trained with.
            guide: the one that stage two was trained to please; its figures get the suffix `_guide`.
            recognizer: reads emotions.

        Returns:
            Drifts (root mean squares in code units, pose in degrees) and errors against the target; PSNR and SSIM to
            the true edit; share of the emotion edits that are recognised.
        """
        figures: dict[str, float] = {}
        for suffix, encoder in (("", judge), ("_guide", guide)):
            read, source = reencode(encoder, edit), reencode(encoder, self.batch["image"])
            drift, error = code_errors(read, source), code_errors(read, self.target)
            figures |= {f"{name}{suffix}": float(drift[group]) for name, group in DRIFTS.items()}
            figures |= {
                f"expression_error{suffix}": float(error["exp"]),
                f"jaw_error{suffix}": float(error["jaw_pose"]),
            }
        figures["psnr"] = float(psnr(edit, self.clean_edit).mean())
        figures["psnr_changed"] = float(psnr(edit, self.clean_edit, self.regions["changed"]).nanmean())
        figures["ssim"] = float(ssim(edit, self.clean_edit).mean())
        if emotion_edit is not None:
            figures["emotion_accuracy"] = float((recognizer(emotion_edit).label == self.labels).float().mean())
        return figures


def with_emotions(codes: FaceCodes, labels: Tensor) -> FaceCodes:
    """Faces with the synthetic head's expression of an emotion each, at full strength."""
    presets = [emotion_preset(int(label)) for label in labels]
    exp, jaw = torch.stack([p[0] for p in presets]), torch.stack([p[1] for p in presets])
    return codes.replace(exp=exp.to(codes.exp), pose=torch.cat([codes.global_rotation, jaw.to(codes.pose)], dim=1))
