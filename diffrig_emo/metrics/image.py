"""PSNR and SSIM accumulated over batches: means over pictures, as papers report them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from diffrig_emo.metrics.functional.background import background_preservation
from diffrig_emo.metrics.functional.image import edit_regions, psnr, ssim
from diffrig_emo.metrics.means import MeanOverFaces, MeansOverFaces

REGIONS = ("whole", "face", "changed", "rest")
"""The regions of `EditQuality`, as `metrics.functional.edit_regions` gives them."""

_FIGURES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"psnr": psnr, "ssim": ssim}
_NAMES = tuple(f"{figure}_{region}" for figure in _FIGURES for region in REGIONS)


class MaskedPSNR(MeanOverFaces):
    """Mean PSNR in decibels over pictures, each over its own mask; see `metrics.functional.psnr`.

    Example:
        >>> metric = MaskedPSNR()
        >>> import torch
        >>> target = torch.full((2, 3, 8, 8), 0.5)
        >>> metric.update(target + 0.1, target)
        >>> round(float(metric.compute()), 3)
        20.0
    """

    is_differentiable = True
    higher_is_better = True

    def update(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch: pictures (B, 3, H, W) in [0, 1], mask (B, 1, H, W) or None; an empty mask does not count."""
        self._add(psnr(pred, target, mask))


class MaskedSSIM(MeanOverFaces):
    """Mean SSIM over pictures, each over its own mask; see `metrics.functional.ssim`.

    Example:
        >>> metric = MaskedSSIM()
        >>> import torch
        >>> picture = torch.full((1, 3, 16, 16), 0.5)
        >>> metric.update(picture, picture)
        >>> round(float(metric.compute()), 3)
        1.0
    """

    is_differentiable = True
    higher_is_better = True

    def update(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch: pictures (B, 3, H, W) in [0, 1], mask (B, 1, H, W) or None; an empty mask does not count."""
        self._add(ssim(pred, target, mask))


class EditQuality(MeansOverFaces):
    """How close edits come to their true edits: PSNR and SSIM, whole, on the face, where it changes, elsewhere.

    Means over pictures; a picture without pixels in a region does not count there. Give the unedited source as
    `pred` in a second instance for the baseline that every edit has to beat.

    Args:
        threshold: least channel difference ([0, 1] range) by which a pixel counts as changed by the true edit.

    Example:
        >>> import torch
        >>> source, face = torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
        >>> face[..., 4:12, 4:12] = 1
        >>> target = 0.5 * face.expand(1, 3, 16, 16)
        >>> metric = EditQuality()
        >>> metric.update(target * 0.8, target, source, face)
        >>> round(float(metric.compute()["psnr_changed"]), 3)
        20.0
    """

    is_differentiable = True
    higher_is_better = True

    def __init__(self, threshold: float = 8 / 255) -> None:
        super().__init__(_NAMES)
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold: expected a channel difference in [0, 1), got {threshold}; 8/255 is usual")
        self.threshold = threshold

    def update(self, pred: Tensor, target: Tensor, source: Tensor, face: Tensor) -> None:
        """Add a batch.

        Args:
            pred: edited pictures (B, 3, H, W), RGB in [0, 1].
            target: true edited pictures, likewise.
            source: pictures before the edit, likewise.
            face: coverage of the face before or after the edit (B, 1, H, W), boolean or 0 and 1.
        """
        masks = edit_regions(source, target, face, self.threshold)
        figures = {
            f"{name}_{region}": figure(pred, target, masks[region])
            for name, figure in _FIGURES.items()
            for region in REGIONS
        }
        self._add(figures)


class BackgroundPreservation(MeansOverFaces):
    """How well edits keep what lies outside the face: means of `metrics.functional.background_preservation`.

    `psnr` is infinite as soon as one picture keeps its background to the bit, as pasted edits do; `l1` is finite.

    Args:
        margin: pixels around the region that are left out as well.

    Example:
        >>> import torch
        >>> source, face = torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
        >>> face[..., 4:12, 4:12] = 1
        >>> metric = BackgroundPreservation()
        >>> metric.update(source + 0.1 + 0.5 * face, source, face)  # the face does not count
        >>> {name: round(float(value), 3) for name, value in metric.compute().items()}
        {'psnr': 20.0, 'l1': 0.1}
    """

    is_differentiable = True
    higher_is_better = None

    def __init__(self, margin: int = 0) -> None:
        super().__init__(("psnr", "l1"))
        self.margin = margin

    def update(self, pred: Tensor, source: Tensor, region: Tensor) -> None:
        """Add a batch.

        Args:
            pred: edited pictures (B, 3, H, W), RGB in [0, 1].
            source: pictures before the edit, likewise.
            region: what the edit may change (B, 1, H, W), boolean or 0 and 1: the union of the face's coverage before
                and after it, or `metrics.functional.changed_mask` of a true edit.
        """
        self._add(background_preservation(pred, source, region, self.margin))
