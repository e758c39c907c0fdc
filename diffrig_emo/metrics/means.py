"""The state that most metrics here share: sums over faces, and how many faces they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torchmetrics import Metric


class MeanOverFaces(Metric):
    """Mean of one figure per face or picture; those whose figure is NaN do not count.

    A subclass implements `update`, which ends in `_add`. Sums and counts are kept, so that batches may differ in size
    and processes simply add up.
    """

    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "count"):
            self.add_state(name, default=torch.zeros(()), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """The mean, NaN when nothing counted."""
        return self.total / self.count

    def _add(self, values: Tensor) -> None:
        self.total += values.nansum()
        self.count += (~values.isnan()).sum()


class MeansOverFaces(Metric):
    """Means of several figures per face or picture, each over those where it is not NaN; see `MeanOverFaces`.

    Args:
        names: of the figures.
    """

    full_state_update = False

    totals: Tensor
    counts: Tensor

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        for name in ("totals", "counts"):
            self.add_state(name, default=torch.zeros(len(self.names)), dist_reduce_fx="sum")

    def compute(self) -> dict[str, Tensor]:
        """Every mean by its name, NaN where nothing counted."""
        return dict(zip(self.names, (self.totals / self.counts).unbind(), strict=True))

    def _add(self, figures: Mapping[str, Tensor]) -> None:
        values = torch.stack([figures[name] for name in self.names])
        self.totals += values.nansum(dim=1)
        self.counts += (~values.isnan()).sum(dim=1)
