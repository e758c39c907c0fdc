"""What is measured on edits of emotions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from diffrig_emo.conditioning.reencode import reencode
from diffrig_emo.metrics.functional.image import changed_mask, psnr, ssim
from diffrig_emo.morphable import MorphableEncoder
from diffrig_emo.perception import ArcFaceEmbedder, EmotionRecognizer, LPIPSNetwork
from diffrig_emo.utils.skipped import Skipped, unless_missing
from diffrig_emo.workflows.emotion.faces import EmotionFaces
from diffrig_emo.workflows.emotion.systems import EmotionSystem

PUBLISHED_COLUMNS = ("accuracy", "psnr", "ssim", "lpips", "csim")
"""Figures of the published table; all but the accuracy compare the edit with the unedited photograph."""
_BATCH = 32


@dataclasses.dataclass(frozen=True)
class EmotionJudges:
    """The networks that figures are read with; what is missing says why."""

    recognizer: EmotionRecognizer
    lpips: nn.Module | Skipped
    embedder: nn.Module | Skipped
    encoder: MorphableEncoder | None
    """Reads codes off whole pictures, for the drift of the identity."""

    @classmethod
    def find(
        cls, recognizer: EmotionRecognizer, encoder: MorphableEncoder | None, lpips: str | None, arcface: str | None
    ) -> EmotionJudges:
        """Load what is at hand.

        Args:
            recognizer: reads emotions.
            encoder: reads codes; None leaves the drift out.
            lpips: LPIPS' trunk; None looks where assets are looked for.
            arcface: ArcFace's file; None likewise.

        Raises:
            FileNotFoundError: when a file that was named is missing.
        """
        trunk = LPIPSNetwork(lpips) if lpips else unless_missing("LPIPS", LPIPSNetwork)
        embedder = ArcFaceEmbedder(arcface) if arcface else unless_missing("CSIM", ArcFaceEmbedder)
        return cls(recognizer, trunk, embedder, encoder)

    def reasons(self) -> dict[str, str]:
        """Why figures are left out, by name."""
        found = {"lpips": self.lpips, "csim": self.embedder}
        return {name: network.reason for name, network in found.items() if isinstance(network, Skipped)}


Figures = dict[str, Tensor]
"""By name, one number per edited face; NaN where there is none."""


@torch.no_grad()
def measure(
    system: EmotionSystem,
    faces: EmotionFaces,
    numbers: Sequence[int],
    target: int,
    judges: EmotionJudges,
    reconstruction: Tensor | None = None,
) -> tuple[Figures, Tensor]:
    """Edit some faces to an emotion, and look at what came.

    Args:
        system: edits.
        faces: the faces.
        numbers: which of them.
        target: the emotion, 0..7.
        judges: networks.
        reconstruction: what the autoencoder makes of all faces, (N, 3, H, W) in [0, 1]; None where there is none.

    Returns:
        Figures: those published, `top2`; with true edits also `psnr_changed` and `psnr_rest`, against the true edit on
        the pixels that it changes and on the others, and the same of `source` and `autoencoder`; with an encoder
        `beta_drift`, and `beta_floor`, the same of true edits. And the edits, RGB in [0, 1].
    """
    pairs = [
        _measure(system, faces, numbers[i : i + _BATCH], target, judges, reconstruction)
        for i in range(0, len(numbers), _BATCH)
    ]
    return join([figures for figures, _ in pairs]), torch.cat([edit for _, edit in pairs])


def join(parts: Sequence[Figures]) -> Figures:
    """Figures of several batches in a row."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def means(figures: Mapping[str, Tensor]) -> dict[str, float | None]:
    """Mean over the faces that have a figure; None where none has.

    Example:
        >>> means({"psnr": torch.tensor([20.0, 30.0]), "lpips": torch.tensor([float("nan")] * 2)})
        {'psnr': 25.0, 'lpips': None}
    """
    found = {name: float(values.nanmean()) for name, values in figures.items()}
    return {name: None if value != value else value for name, value in found.items()}


def _measure(
    system: EmotionSystem,
    faces: EmotionFaces,
    numbers: Sequence[int],
    target: int,
    judges: EmotionJudges,
    reconstruction: Tensor | None,
) -> tuple[Figures, Tensor]:
    batch = faces.part(numbers)
    source, edit = batch["image"], system.edit(batch, target)
    logits = judges.recognizer(edit).logits
    unknown = source.new_full((len(source),), float("nan"))
    figures = {
        "accuracy": (logits.argmax(dim=1) == target).float(),
        "top2": (logits.topk(2, dim=1).indices == target).any(dim=1).float(),
        "psnr": psnr(edit, source),
        "ssim": ssim(edit, source),
        "lpips": unknown if isinstance(judges.lpips, Skipped) else judges.lpips(edit, source),
        "csim": unknown if isinstance(judges.embedder, Skipped) else _csim(judges.embedder, edit, source),
    }
    truth, clean = faces.true_edit(numbers, target), faces.clean(numbers)
    if truth is not None and clean is not None:
        truth, clean = truth.to(source), clean.to(source)
        changed = changed_mask(clean, truth)
        pictures = {"": edit, "_source": source}
        if reconstruction is not None:
            pictures["_autoencoder"] = reconstruction[list(numbers)]
        for name, picture in pictures.items():
            figures[f"psnr_changed{name}"] = psnr(picture, truth, changed)
            figures[f"psnr_rest{name}"] = psnr(picture, truth, ~changed)
    if judges.encoder is not None:
        before = reencode(judges.encoder, source).shape
        figures["beta_drift"] = (reencode(judges.encoder, edit).shape - before).square().mean(dim=1).sqrt()
        if truth is not None:
            figures["beta_floor"] = (reencode(judges.encoder, truth).shape - before).square().mean(dim=1).sqrt()
    return figures, edit


def _csim(embedder: nn.Module, edit: Tensor, source: Tensor) -> Tensor:
    return torch.cosine_similarity(embedder(edit), embedder(source), dim=1)
