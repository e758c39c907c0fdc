"""PSNR and SSIM accumulated over batches: means over pictures, as papers report them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric

from diffrig_emo.metrics.functional.image import edit_regions, psnr, ssim

REGIONS = ("whole", "face", "changed", "rest")
"""The regions of `EditQuality`, as `metrics.functional.edit_regions` gives them."""

_FIGURES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"psnr": psnr, "ssim": ssim}
_NAMES = tuple(f"{figure}_{region}" for figure in _FIGURES for region in REGIONS)


class _MeanOverPictures(Metric):
    """Mean of one figure per picture; pictures whose figure is NaN (an empty mask) do not count."""

    is_differentiable = True
    higher_is_better = True
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "count"):
            self.add_state(name, default=torch.zeros(()), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch: pictures (B, 3, H, W) in [0, 1], mask (B, 1, H, W) or None."""
        values = self._per_picture(pred, target, mask)
        self.total += values.nansum()
        self.count += (~values.isnan()).sum()

    def compute(self) -> Tensor:
        """The mean, NaN when no picture counted."""
        return self.total / self.count

    @abstractmethod
    def _per_picture(self, pred: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        """The figure of every picture, (B,)."""


class MaskedPSNR(_MeanOverPictures):
    """Mean PSNR in decibels over pictures, each over its own mask; see `metrics.functional.psnr`.

    Example:
        >>> metric = MaskedPSNR()
        >>> target = torch.full((2, 3, 8, 8), 0.5)
        >>> metric.update(target + 0.1, target)
        >>> round(float(metric.compute()), 3)
        20.0
    """

    def _per_picture(self, pred: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        return psnr(pred, target, mask)


class MaskedSSIM(_MeanOverPictures):
    """Mean SSIM over pictures, each over its own mask; see `metrics.functional.ssim`.

    Example:
        >>> metric = MaskedSSIM()
        >>> picture = torch.full((1, 3, 16, 16), 0.5)
        >>> metric.update(picture, picture)
        >>> round(float(metric.compute()), 3)
        1.0
    """

    def _per_picture(self, pred: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        return ssim(pred, target, mask)


class EditQuality(Metric):
    """How close edits come to their true edits: PSNR and SSIM, whole, on the face, where it changes, elsewhere.

    Means over pictures; a picture without pixels in a region does not count there. Give the unedited source as
    `pred` in a second instance for the baseline that every edit has to beat.

    Args:
        threshold: least channel difference ([0, 1] range) by which a pixel counts as changed by the true edit.

    Example:
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
    full_state_update = False

    totals: Tensor
    counts: Tensor

    def __init__(self, threshold: float = 8 / 255) -> None:
        super().__init__()
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold: expected a channel difference in [0, 1), got {threshold}; 8/255 is usual")
        self.threshold = threshold
        for name in ("totals", "counts"):
            self.add_state(name, default=torch.zeros(len(_NAMES)), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor, source: Tensor, face: Tensor) -> None:
        """Add a batch.

        Args:
            pred: edited pictures (B, 3, H, W), RGB in [0, 1].
            target: true edited pictures, likewise.
            source: pictures before the edit, likewise.
            face: coverage of the face before or after the edit (B, 1, H, W), boolean or 0 and 1.
        """
        masks = edit_regions(source, target, face, self.threshold)
        values = [figure(pred, target, masks[region]) for figure in _FIGURES.values() for region in REGIONS]
        figures = torch.stack(values)
        self.totals += figures.nansum(dim=1)
        self.counts += (~figures.isnan()).sum(dim=1)

    def compute(self) -> dict[str, Tensor]:
        """`psnr_whole`, `psnr_face`, ... `ssim_rest`; NaN where no picture counted."""
        return dict(zip(_NAMES, (self.totals / self.counts).unbind(), strict=True))
