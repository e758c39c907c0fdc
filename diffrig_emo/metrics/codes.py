"""Errors, drifts and distances of codes accumulated over batches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics import Metric

from diffrig_emo.metrics.functional.codes import GROUPS, _code_errors_compute, _code_errors_update
from diffrig_emo.metrics.functional.drift import GROUPS_MM, _drift_compute, _drift_update, code_distances_mm
from diffrig_emo.metrics.functional.reenactment import DISTANCES, reenactment_distances
from diffrig_emo.metrics.means import MeansOverFaces
from diffrig_emo.structures import FaceCodes, FaceMesh


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


class ReinferenceErrors(Metric):
    """Error per group of codes read off results again, beside its floor; see `metrics.functional.reinference_errors`.

    Example:
        >>> from diffrig_emo.structures import FaceCodes
        >>> target = FaceCodes.zeros(2, n_shape=4, n_tex=3, n_exp=5, space="synthetic1")
        >>> metric = ReinferenceErrors()
        >>> metric.update(target.replace(exp=target.exp + 2), target, target.replace(exp=target.exp + 1), target)
        >>> figures = metric.compute()
        >>> figures["exp"].item(), figures["exp_floor"].item()
        (2.0, 1.0)
    """

    is_differentiable = True
    higher_is_better = False
    full_state_update = False

    totals: Tensor
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("totals", "counts"):
            self.add_state(name, default=torch.zeros(2, len(GROUPS)), dist_reduce_fx="sum")

    def update(self, pred: FaceCodes, target: FaceCodes, floor_pred: FaceCodes, floor_target: FaceCodes) -> None:
        """Add a batch; arguments and errors as those of `reinference_errors`."""
        for row, (read, wanted) in enumerate(((pred, target), (floor_pred, floor_target))):
            totals, counts = _code_errors_update(read, wanted)
            self.totals[row] += totals
            self.counts[row] += counts

    def compute(self) -> dict[str, Tensor]:
        """An error for every group, and its floor under the group's name with `_floor`."""
        errors, floor = (_code_errors_compute(t, c) for t, c in zip(self.totals, self.counts, strict=True))
        return errors | {f"{group}_floor": error for group, error in floor.items()}


class BetaDrift(Metric):
    """Drift of the shape code over all faces, beside the distance between people; see `metrics.functional.beta_drift`.

    Args:
        n_shape: coefficients of the shape code.

    Example:
        >>> source = torch.tensor([[0.0, 0.0], [2.0, 2.0]])
        >>> metric = BetaDrift(n_shape=2)
        >>> for before in source:  # one face at a time
        ...     metric.update(before[None] + 1, before[None])
        >>> {name: value.item() for name, value in metric.compute().items()}
        {'drift': 1.0, 'between_people': 2.0, 'relative': 0.5}
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    count: Tensor
    moved: Tensor
    squares: Tensor
    total: Tensor

    def __init__(self, n_shape: int = 100) -> None:
        super().__init__()
        self.n_shape = n_shape
        for name in ("count", "moved", "squares"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("total", default=torch.zeros(n_shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, source: Tensor) -> None:
        """Add a batch of shape codes (B, n_shape): read off the edits, and off their sources."""
        if source.shape[-1] != self.n_shape:
            raise ValueError(f"source: expected n_shape={self.n_shape} coefficients, got {source.shape[-1]}")
        for name, value in zip(("count", "moved", "squares", "total"), _drift_update(pred, source), strict=True):
            setattr(self, name, getattr(self, name) + value)

    def compute(self) -> dict[str, Tensor]:
        """`drift`, `between_people` and `relative`; NaN where there were too few faces."""
        return _drift_compute(self.count, self.moved, self.squares, self.total)


class CodeDistancesMM(MeansOverFaces):
    """What differences of codes mean on the mesh, in millimetres; see `metrics.functional.code_distances_mm`.

    Args:
        face_model: codes to mesh.

    Example:
        ```python
        metric = CodeDistancesMM(FLAME())
        metric.update(reencode(encoder, edit), target)
        metric.compute()["shape"]  # mm by which the neutral face differs
        ```
    """

    is_differentiable = True
    higher_is_better = False

    def __init__(self, face_model: Callable[[FaceCodes], FaceMesh]) -> None:
        super().__init__(GROUPS_MM)
        self.face_model = face_model

    def update(self, pred: FaceCodes, target: FaceCodes) -> None:
        """Add a batch: codes of the pictures under test, and codes they should have."""
        self._add(code_distances_mm(pred, target, self.face_model))


class ReenactmentDistances(MeansOverFaces):
    """Mean `aed`, `ajd` and `apd` over faces; see `metrics.functional.reenactment_distances`.

    Example:
        >>> from diffrig_emo.structures import FaceCodes
        >>> driving = FaceCodes.zeros(2, n_shape=4, n_tex=3, n_exp=5, space="synthetic1")
        >>> metric = ReenactmentDistances()
        >>> metric.update(driving.replace(exp=driving.exp + 0.5), driving)
        >>> metric.compute()["aed"].item()
        0.5
    """

    is_differentiable = True
    higher_is_better = False

    def __init__(self) -> None:
        super().__init__(tuple(DISTANCES))

    def update(self, pred: FaceCodes, driving: FaceCodes) -> None:
        """Add a batch: codes read off the results, and off the driving pictures by the same encoder."""
        self._add(reenactment_distances(pred, driving))
