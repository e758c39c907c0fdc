"""Faces with inverted latents in batches."""

from __future__ import annotations

from torch.utils.data import Subset

from diffrig_emo.datamodules.base import FaceDataModule
from diffrig_emo.datasets.inverted_faces import InvertedFaces


class InvertedFacesDataModule(FaceDataModule):
    """What `diffrig-emo invert-emotions` wrote, for `EmotionFinetuning`; the last faces validate, test and predict.

    Args:
        path: the file.
        num_val: faces that are held out, and every true edit of theirs.
        batch_size: faces per batch and process.
        num_workers: loading processes.
        seed: fixes the order of training.
        true_edits: an emotion, or "all"; faces come with the picture of their scene that shows it, see `InvertedFaces`.

    Raises:
        FileNotFoundError: when there is no such file, before training starts.
        ValueError: when it is another file, or has no faces left to train on, or no true edits.
    """

    def __init__(
        self,
        path: str,
        num_val: int = 100,
        batch_size: int = 4,
        num_workers: int = 0,
        seed: int = 0,
        true_edits: str | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        faces = InvertedFaces(path, true_edits)
        order = faces.numbers
        different = sorted(set(order))
        if not 1 <= num_val < len(different):
            raise ValueError(
                f"num_val: expected 1 to {len(different) - 1}, {path} having {len(different)}, got {num_val}"
            )
        self.last_step = faces.last_step
        """Step of the schedule that the latents are at."""
        train = sum(number < different[-num_val] for number in order)
        self.train_dataset = Subset(faces, range(train))
        self.val_dataset = self.test_dataset = self.predict_dataset = Subset(faces, range(train, len(faces)))
