"""FFHQ in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from diffrig_emo.datamodules.base import FaceDataModule
from diffrig_emo.datasets.ffhq import FFHQ


class FFHQDataModule(FaceDataModule):
    """Faces of FFHQ, in whatever layout; test and prediction take the validation faces.

    Args:
        root: folder, zip file or LMDB folder; see `FFHQ`.
        store: code store of these pictures; None gives pictures without codes.
        split: "official": FFHQ's own, 60,000 and 10,000; "diffae": the first 10,000 validate; "all": all faces train,
            and validation shows faces of the training.
        image_size: side of the pictures in pixels.
        folder: folder of pictures in `root`; None takes the aligned pictures of the largest name.
        batch_size: faces per batch and process.
        num_workers: loading processes.
        seed: fixes the order of training.
    """

    def __init__(
        self,
        root: str,
        store: str | None = None,
        split: Literal["official", "diffae", "all"] = "official",
        image_size: int = 256,
        folder: str | None = None,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.root = Path(root)
        self.store = store
        self.split: Literal["official", "diffae", "all"] = split
        self.image_size = image_size
        self.folder = folder

    def setup(self, stage: str | None = None) -> None:
        """List the faces of the parts that are needed."""
        if stage in (None, "fit") and not hasattr(self, "train_dataset"):
            self.train_dataset = self._part("train")
        if not hasattr(self, "val_dataset"):
            self.val_dataset = self.test_dataset = self.predict_dataset = self._part("val")

    def describe(self) -> None:
        """Print layout, number of faces, licences, and what is missing."""
        print(self._part("all").describe())

    def _part(self, part: Literal["train", "val", "all"]) -> FFHQ:
        return FFHQ(self.root, part, self.split, self.image_size, self.store, self.folder)
