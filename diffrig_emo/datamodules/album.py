"""One person's photographs in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from diffrig_emo.datamodules.base import FaceDataModule
from diffrig_emo.datasets.album import Album


class AlbumDataModule(FaceDataModule):
    """Photographs of one person, to personalise a model; test and prediction take the photos held out.

    Args:
        folder: the photographs; see `Album`.
        store: code store of the folder; None gives pictures without codes.
        num_val: photos held out; with 0 all photos train, and validation shows them too.
        image_size: side of the pictures in pixels.
        use_mean_shape: give every face the album's mean shape code.
        batch_size: faces per batch and process.
        num_workers: loading processes.
        seed: fixes the order of training.
    """

    def __init__(
        self,
        folder: str,
        store: str | None = None,
        num_val: int = 0,
        image_size: int = 256,
        use_mean_shape: bool = False,
        batch_size: int = 4,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        self.folder = Path(folder)
        self.store = store
        self.num_val = num_val
        self.image_size = image_size
        self.use_mean_shape = use_mean_shape

    def setup(self, stage: str | None = None) -> None:
        """List the photographs.

        Raises:
            ValueError: when there are fewer than two to train on.
        """
        if stage in (None, "fit") and not hasattr(self, "train_dataset"):
            album = self._part("train")
            require_album(len(album), str(self.folder))
            self.train_dataset = album
        if not hasattr(self, "val_dataset"):
            self.val_dataset = self.test_dataset = self.predict_dataset = self._part("val")

    def _part(self, part: Literal["train", "val"]) -> Album:
        return Album(self.folder, part, self.num_val, self.image_size, self.store, self.use_mean_shape)


def require_album(num_photos: int, name: str) -> None:
    """Make sure that there are photographs enough to learn a person from.

    Args:
        num_photos: photographs to train on.
        name: what they are called in the message.

    Raises:
        ValueError: when there are fewer than two.
    """
    if num_photos < 2:
        raise ValueError(
            f"{name}: expected 2 or more photographs of the person to train on, best about 20, got {num_photos}; from "
            "a single one a model learns that picture, not the person"
        )
