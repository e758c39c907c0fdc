"""Code errors accumulated over batches."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from diffrig_emo.metrics.functional.codes import GROUPS, _code_errors_compute, _code_errors_update
from diffrig_emo.structures import FaceCodes


class CodeErrors(Metric):
    """Error per group of codes over all faces seen; see `metrics.functional.code_errors` for the units.

    Example:
        >>> from diffrig_emo.structures import FaceCodes
        >>> codes = FaceCodes.zeros(2, n_shape=4, n_tex=3, n_exp=5, space="synthetic1")
        >>> metric = CodeErrors()
        >>> metric.update(codes.replace(exp=codes.exp + 2), codes)
        >>> float(metric.compute()["exp"])
        2.0
    """

    is_differentiable = True
    higher_is_better = False
    full_state_update = False

    totals: Tensor
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("totals", "counts"):
            self.add_state(name, default=torch.zeros(len(GROUPS)), dist_reduce_fx="sum")

    def update(self, pred: FaceCodes, target: FaceCodes) -> None:
        """Add a batch; raises like `code_errors`."""
        totals, counts = _code_errors_update(pred, target)
        self.totals += totals
        self.counts += counts

    def compute(self) -> dict[str, Tensor]:
        """One scalar per group."""
        return _code_errors_compute(self.totals, self.counts)
