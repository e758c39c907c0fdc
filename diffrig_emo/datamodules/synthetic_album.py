"""Synthetic photographs of one person, in batches."""

from __future__ import annotations

from collections.abc import Sequence

from torch.utils.data import Dataset

from diffrig_emo.datamodules.album import require_album
from diffrig_emo.datamodules.base import FaceDataModule
from diffrig_emo.structures import FaceBatch
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.transforms.edits import transfer_expression


class SyntheticAlbumDataModule(FaceDataModule):
    """An album of one of the test people of `SyntheticFacesDataModule`, whom no rig has met in training.

    Each photograph comes with the person's true codes: all share one shape code, which is the album's mean shape. Other
    photographs of the same person are held out; to predict, each of those gets the expression of the next one as
    `target_codes`.

    Args:
        num_train: photographs to learn the person from; about 20 are usual.
        num_val: photographs held out for validation.
        num_test: photographs held out for test and prediction.
        person: number of the person; person 3 is whom test face 3 of `SyntheticFacesDataModule` shows.
        image_size: side of the photographs in pixels.
        batch_size: faces per batch and process.
        num_workers: loading processes.
        seed: as that of `SyntheticFacesDataModule`.

    Raises:
        ValueError: when there are fewer than two photographs to train on, or a number is out of range.
    """

    def __init__(
        self,
        num_train: int = 20,
        num_val: int = 8,
        num_test: int = 8,
        person: int = 0,
        image_size: int = 64,
        batch_size: int = 4,
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        require_album(num_train, "num_train")
        for name, value, least in (("num_val", num_val, 1), ("num_test", num_test, 1), ("person", person, 0)):
            if value < least:
                raise ValueError(f"SyntheticAlbumDataModule: {name} must be at least {least}, got {value}")
        self.person = person
        self.image_size = image_size
        num_photos = num_train + num_val + num_test
        # The third of each seed's three populations, as in SyntheticFacesDataModule.
        self.faces = SyntheticFaces((person + 1) * num_photos, image_size, 3 * seed + 2, num_photos)
        start = person * num_photos
        self.train_photos = range(start, start + num_train)
        """Numbers of the photographs in `faces`; likewise below."""
        self.val_photos = range(start + num_train, start + num_train + num_val)
        self.test_photos = range(start + num_train + num_val, start + num_photos)

    def setup(self, stage: str | None = None) -> None:
        """Take the photographs, when they are needed first."""
        if stage in (None, "fit") and not hasattr(self, "train_dataset"):
            self.train_dataset = _Photos(self.faces.__getitems__(self.train_photos))
        if stage in (None, "fit", "validate") and not hasattr(self, "val_dataset"):
            self.val_dataset = _Photos(self.faces.__getitems__(self.val_photos))
        if stage in (None, "test", "predict") and not hasattr(self, "test_dataset"):
            photos = self.faces.__getitems__(self.test_photos)
            targets = [
                transfer_expression(photo["codes"], following["codes"])
                for photo, following in zip(photos, photos[1:] + photos[:1], strict=True)
            ]
            self.test_dataset = _Photos(photos)
            self.predict_dataset = _Photos(
                [FaceBatch(**photo, target_codes=codes) for photo, codes in zip(photos, targets, strict=True)]
            )


class _Photos(Dataset[FaceBatch]):
    """A few photographs, kept in memory."""

    def __init__(self, photos: Sequence[FaceBatch]) -> None:
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, index: int) -> FaceBatch:
        return self.photos[index]
