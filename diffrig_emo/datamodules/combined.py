"""Several DataModules as one, mixed in wanted shares."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from diffrig_emo.datamodules.base import FaceDataModule
from diffrig_emo.datasets.combined import CombinedFaces


class CombinedDataModule(FaceDataModule):
    """The faces of several DataModules, such as FFHQ and AffectNet, in one training.

    What a source lacks is -1 or NaN, and marked in `has_label`, `has_va` and `has_landmarks`; see `CombinedFaces`. An
    epoch has as many faces as all sources together; validation, test and prediction take them one source after the
    other.

    Args:
        sources: the DataModules. All of them give codes, or none; their own batch size, workers and seed do not count,
            but a class-balanced source stays so within its share.
        weights: share of each source in training, which need not add up to 1; None: each by its number of faces.
        batch_size: faces per batch and process.
        num_workers: loading processes.
        seed: fixes the order of training.

    Raises:
        ValueError: when there is no source, or the weights do not fit.
    """

    def __init__(
        self,
        sources: list[FaceDataModule],
        weights: list[float] | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        if not sources:
            raise ValueError("CombinedDataModule: sources must hold at least one DataModule, got none")
        if weights is not None and (
            len(weights) != len(sources) or not all(math.isfinite(w) and w >= 0 for w in weights) or not sum(weights)
        ):
            raise ValueError(
                f"CombinedDataModule: weights must be {len(sources)} numbers of at least 0, one for each source and "
                f"not all 0, got {weights}"
            )
        self.sources = sources
        self.weights = weights

    def setup(self, stage: str | None = None) -> None:
        """Set up all sources."""
        parts = ("train", "val", "test", "predict") if stage in (None, "fit") else ("val", "test", "predict")
        for source in self.sources:
            source.setup(stage or "fit")
        for part in parts:
            name = f"{part}_dataset"
            if not hasattr(self, name):
                datasets: list[Dataset[Any]] = [getattr(source, name) for source in self.sources]
                self._require_alike(datasets)
                setattr(self, name, CombinedFaces(datasets))

    def train_groups(self) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """Source of each training face, or class within its source where that is balanced; shares by `weights`."""
        within = [source.train_groups() for source in self.sources]
        if self.weights is None and not any(within):
            return None
        lengths = [len(source.train_dataset) for source in self.sources]  # type: ignore[arg-type]
        groups, shares, first = [], [], 0
        for length, own, weight in zip(lengths, within, self.weights or lengths, strict=True):
            numbers, parts = own or (np.zeros(length, np.int64), np.ones(1))
            groups.append(numbers + first)
            shares.append(weight * parts / parts.sum())
            first += len(parts)
        return np.concatenate(groups), np.concatenate(shares)

    def _require_alike(self, datasets: list[Dataset[Any]]) -> None:
        faces = [dataset[0] for dataset in datasets]
        names = [f"{i} ({type(source).__name__})" for i, source in enumerate(self.sources)]
        sizes = {name: tuple(face["image"].shape[1:]) for name, face in zip(names, faces, strict=True)}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"CombinedDataModule: sources must give pictures of one size, got {sizes}")
        spaces = {
            name: face["codes"].space if "codes" in face else None for name, face in zip(names, faces, strict=True)
        }
        if len(set(spaces.values())) > 1:
            raise ValueError(
                f"CombinedDataModule: sources must all give codes of one space, or none of them, got {spaces}; give "
                "every source a store made by the same encoder"
            )
