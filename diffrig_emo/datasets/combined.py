"""Several data sets as one, in which what one of them lacks is marked as unknown."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.utils.data import Dataset

from diffrig_emo.structures import FaceBatch

_KEPT = ("image", "codes", "label", "va", "landmarks", "path", "source")


class CombinedFace(FaceBatch, total=False):
    """A face of several data sets, and what is known about it."""

    has_label: Bool[Tensor, " batch"]
    """Whether `label` is known; it is -1 otherwise."""
    has_va: Bool[Tensor, " batch"]
    """Whether `va` is known; it holds NaN otherwise."""
    has_landmarks: Bool[Tensor, " batch"]
    """Whether `landmarks` are known; they are NaN otherwise."""


class CombinedFaces(Dataset[FaceBatch]):
    """The faces of several data sets, one after the other, with equal keys.

    Labels, valence and arousal, and landmarks that a data set lacks are -1 or NaN, and marked in `has_label`,
    `has_va` and `has_landmarks`. `index` counts through all of them; `source` names the data set.

    Args:
        datasets: the data sets. All or none of them give `codes`.

    Raises:
        ValueError: when there is no data set, or one is empty.

    Example:
        >>> grey = [{"image": torch.zeros(3, 8, 8), "label": torch.tensor(2), "source": "grey"}]
        >>> white = [{"image": torch.ones(3, 8, 8)}]
        >>> face = CombinedFaces([grey, white])[1]
        >>> int(face["label"]), bool(face["has_label"]), int(face["index"])
        (-1, False, 1)
    """

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets or not all(len(dataset) for dataset in self.datasets):
            raise ValueError(f"datasets: expected data sets with faces, got lengths {[len(d) for d in self.datasets]}")
        self._ends = [sum(len(dataset) for dataset in self.datasets[: i + 1]) for i in range(len(self.datasets))]

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> CombinedFace:
        """One face."""
        number = range(len(self))[index]
        which = bisect.bisect_right(self._ends, number)
        face = self.datasets[which][number - (self._ends[which - 1] if which else 0)]
        unknown = {"label": torch.tensor(-1), "va": torch.full((2,), torch.nan), "path": "", "source": str(which)}
        item: Any = unknown | {"landmarks": torch.full((68, 2), torch.nan)} | {k: face[k] for k in _KEPT if k in face}
        known = {
            "has_label": item["label"] >= 0,
            "has_va": ~item["va"].isnan().any(),
            "has_landmarks": ~item["landmarks"].isnan().any(),
        }
        return cast(CombinedFace, item | known | {"index": torch.tensor(number)})
