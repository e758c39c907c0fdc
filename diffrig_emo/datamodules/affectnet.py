"""AffectNet in batches, its classes equally often if wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffrig_emo.datamodules.base import FaceDataModule
from diffrig_emo.datasets.affectnet import AffectNet, Crop


class AffectNetDataModule(FaceDataModule):
    """Faces of AffectNet, in whatever layout; test and prediction take the validation faces.

    Args:
        root: folder of the data set; see `AffectNet`.
        store: code store of these pictures; None gives pictures without codes.
        layout: which layout; "auto" finds out.
        classes: 8 keeps the labels 0 to 7; 7 leaves out contempt.
        image_size: side of the pictures in pixels.
        crop: where the face is cut out; see `AffectNet`.
        scale: side of the crop relative to the face.
        require_va: leave out faces without valence and arousal.
        val_fraction: validate on this share of the training faces instead of the official list.
        automatic: train on the automatically annotated list instead of the manual one; see `AffectNet`.
        class_balanced: train on all classes equally often: the largest has 36 times the faces of the smallest. An
            epoch keeps its length.
        batch_size: faces per batch and process.
        num_workers: loading processes.
        seed: fixes the order of training.
    """

    def __init__(
        self,
        root: str,
        store: str | None = None,
        layout: Literal["auto", "csv", "npy", "folder"] = "auto",
        classes: Literal[7, 8] = 8,
        image_size: int = 256,
        crop: Crop = "auto",
        scale: float = 1.25,
        require_va: bool = False,
        val_fraction: float | None = None,
        automatic: bool = False,
        class_balanced: bool = False,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.root = Path(root)
        self.store = store
        self.layout: Literal["auto", "csv", "npy", "folder"] = layout
        self.classes: Literal[7, 8] = classes
        self.image_size = image_size
        self.crop: Crop = crop
        self.scale = scale
        self.require_va = require_va
        self.val_fraction = val_fraction
        self.automatic = automatic
        self.class_balanced = class_balanced

    def setup(self, stage: str | None = None) -> None:
        """Read the lists of the parts that are needed."""
        if stage in (None, "fit") and not hasattr(self, "train_dataset"):
            faces = self._part("train")
            self.train_dataset = faces
            self._labels = faces.labels
        if not hasattr(self, "val_dataset"):
            self.val_dataset = self.test_dataset = self.predict_dataset = self._part("val")

    def train_groups(self) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """Class of each training face, and equal shares of the classes that occur."""
        if not self.class_balanced:
            return None
        return self._labels, (np.bincount(self._labels) > 0).astype(float)

    def describe(self, decode: bool = False) -> None:
        """Print layout, faces of each class beside the published numbers, and what was left out, of both parts.

        Args:
            decode: read every picture, to find those that cannot be.
        """
        for part in ("train", "val"):
            print(self._part(part).describe(decode))

    def _part(self, part: Literal["train", "val"]) -> AffectNet:
        return AffectNet(
            self.root,
            part,
            layout=self.layout,
            classes=self.classes,
            image_size=self.image_size,
            crop=self.crop,
            scale=self.scale,
            require_va=self.require_va,
            val_fraction=self.val_fraction,
            automatic=self.automatic,
            store=self.store,
        )
