"""Jitter and flicker accumulated over clips."""

from __future__ import annotations

from torch import Tensor

from diffrig_emo.metrics.functional.temporal import temporal_jitter, warping_error
from diffrig_emo.metrics.means import MeanOverFaces


class TemporalJitter(MeanOverFaces):
    """Mean jitter over the frames of all clips; see `metrics.functional.temporal_jitter`.

    Example:
        >>> import torch
        >>> metric = TemporalJitter()
        >>> metric.update(torch.arange(5.0)[:, None])  # steady motion
        >>> metric.update(torch.tensor([[0.0], [1.0], [0.0]]))
        >>> metric.compute().item()
        0.5
    """

    is_differentiable = True
    higher_is_better = False

    def update(self, track: Tensor) -> None:
        """Add one clip: codes (T, D) or landmarks (T, N, 2)."""
        self._add(temporal_jitter(track))


class WarpingError(MeanOverFaces):
    """Mean warping error over the neighbouring frames of all clips; see `metrics.functional.warping_error`.

    Example:
        >>> import torch
        >>> metric = WarpingError()
        >>> metric.update(torch.rand(1, 3, 8, 8).expand(4, -1, -1, -1))
        >>> metric.compute().item()
        0.0
    """

    is_differentiable = True
    higher_is_better = False

    def update(self, frames: Tensor, flow: Tensor | None = None, mask: Tensor | None = None) -> None:
        """Add one clip (T, 3, H, W), RGB in [0, 1], its flow (T - 1, 2, H, W) and mask (T - 1, 1, H, W), or None."""
        self._add(warping_error(frames, flow, mask))
