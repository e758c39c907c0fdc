"""What every DataModule of faces shares: one loader factory, shuffling that a resumed run repeats."""

from __future__ import annotations

from typing import Any

import lightning as L
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from diffrig_emo.datamodules.resumable_loader import ResumableLoader
from diffrig_emo.datasets.sampling import BalancedSampler, ShuffledSampler
from diffrig_emo.structures import FaceBatch, face_collate


class FaceDataModule(L.LightningDataModule):
    """Base of the library's DataModules.

    A subclass fills `train_dataset`, `val_dataset`, `test_dataset` and `predict_dataset` in `setup`; their
    items are dictionaries as in `FaceBatch`, with structs of batch size 1.

    Args:
        batch_size: faces per batch and process.
        num_workers: loading processes; 0 loads in the training process.
        seed: with the epoch, fixes the order of the training faces.

    Raises:
        ValueError: when a number is not positive.
    """

    train_dataset: Dataset[FaceBatch]
    val_dataset: Dataset[FaceBatch]
    test_dataset: Dataset[FaceBatch]
    predict_dataset: Dataset[FaceBatch]

    def __init__(self, batch_size: int = 16, num_workers: int = 0, seed: int = 0) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"{type(self).__name__}: batch_size must be at least 1, got {batch_size}")
        if num_workers < 0:
            raise ValueError(f"{type(self).__name__}: num_workers must be at least 0, got {num_workers}")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed

    def train_dataloader(self) -> DataLoader[FaceBatch]:
        """Whole batches in an order drawn from (seed, epoch), split among the processes.

        Raises:
            ValueError: when the faces do not fill one batch.
        """
        world_size = self.trainer.world_size if self.trainer else 1
        rank = self.trainer.global_rank if self.trainer else 0
        sampler = self._train_sampler(world_size, rank)
        if len(sampler) < self.batch_size:
            raise ValueError(
                f"{type(self).__name__}: batch_size must be at most {len(sampler)}, the training faces of each of "
                f"{world_size} processes, got {self.batch_size}"
            )
        return ResumableLoader(self.train_dataset, sampler=sampler, drop_last=True, **self._options())

    def train_groups(self) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """Group of each training face, and the share of each group in an epoch; None draws every face once."""
        return None

    def val_dataloader(self) -> DataLoader[FaceBatch]:
        """Held-out faces in order."""
        return DataLoader(self.val_dataset, **self._options())

    def test_dataloader(self) -> DataLoader[FaceBatch]:
        """Test faces in order."""
        return DataLoader(self.test_dataset, **self._options())

    def predict_dataloader(self) -> DataLoader[FaceBatch]:
        """Faces to edit, in order."""
        return DataLoader(self.predict_dataset, **self._options())

    def _train_sampler(self, world_size: int, rank: int) -> ShuffledSampler:
        # Also with one process: Lightning tells these samplers the epoch, so that a resumed run finds its order again.
        balanced = self.train_groups()
        if balanced is not None:
            return BalancedSampler(*balanced, num_replicas=world_size, rank=rank, seed=self.seed)
        num_faces = len(self.train_dataset)  # type: ignore[arg-type]
        return ShuffledSampler(num_faces, world_size, rank, self.seed)

    def _options(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "num_workers": self.num_workers,
            "persistent_workers": self.num_workers > 0,
            "collate_fn": face_collate,
        }
