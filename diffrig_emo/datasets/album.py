"""Photographs of one person."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from diffrig_emo.datasets.face_files import FaceFiles, FaceTable
from diffrig_emo.datasets.picture_sources import SUFFIXES, FolderPictures
from diffrig_emo.structures import FaceBatch


class Album(FaceFiles):
    """A folder of photographs of one person, for personalising a model with about twenty of them.

    Without a store a photo's picture is the largest square in its middle: right for photos that are cropped to the
    face already. With the store that `diffrig-emo prepare` makes of the folder, pictures are cut out as they were for
    encoding, and come with their codes.

    Args:
        folder: the photographs; folders in it count too.
        part: photos to train on, photos held out, or all.
        num_val: photos held out, spread evenly over the album; with 0, training and validation both take all.
        image_size: side of the pictures in pixels.
        store: code store of these photos; see `FaceFiles`.
        use_mean_shape: give every face the album's mean shape code, as DiffusionRig does: one person has one shape.

    Raises:
        FileNotFoundError: when there is no photo.
        ValueError: when too few photos are left for training, or the store has no mean shape.
    """

    def __init__(
        self,
        folder: str | Path,
        part: Literal["train", "val", "all"] = "all",
        num_val: int = 0,
        image_size: int = 256,
        store: str | Path | None = None,
        use_mean_shape: bool = False,
    ) -> None:
        if part not in ("train", "val", "all"):
            raise ValueError(f"part: expected 'train', 'val' or 'all', got {part!r}")
        pictures = FolderPictures(folder)
        names = pictures.names()
        if not names:
            raise FileNotFoundError(f"{folder}: expected photographs ({', '.join(SUFFIXES)}) in this folder, got none")
        super().__init__(pictures, FaceTable.of_names(names), image_size, "album")
        if store is not None:
            self._use_store(store)
        if not 0 <= num_val < len(self):
            raise ValueError(
                f"num_val: expected at least 0 and fewer than the {len(self)} usable photos of {folder}, got {num_val}"
            )
        if num_val and part != "all":
            held_out = (np.arange(num_val) * len(self)) // num_val
            kept = held_out if part == "val" else np.setdiff1d(np.arange(len(self)), held_out)
            self._select(kept)
            self._rows = self._rows[kept] if len(self._rows) else self._rows
            self._stored = {name: column[kept] for name, column in self._stored.items()}
        self._mean_shape = None if self.store is None or not use_mean_shape else self.store.mean_shape
        if use_mean_shape and self._mean_shape is None:
            raise ValueError(
                f"use_mean_shape: {store or 'without a store'} there is no mean shape; prepare the album with one"
            )

    def describe(self, decode: bool = False) -> str:
        """Folder, number of photos, and what was left out.

        Args:
            decode: read every photo, to list those that cannot be read.
        """
        lines = [f"Album in {self._pictures.path}: {len(self):,} photos"]
        if self.store is not None:
            lines.append(f"  left out, no codes in {self.store.path}: {self.uncoded:,}")
        return "\n".join([*lines, *(self._describe_unreadable() if decode else ())])

    def __getitem__(self, index: int) -> FaceBatch:
        """One face."""
        item = super().__getitem__(index)
        if self._mean_shape is not None:
            item["codes"] = item["codes"].replace(shape=self._mean_shape[None])
        return item
