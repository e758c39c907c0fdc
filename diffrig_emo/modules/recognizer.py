"""Training a recogniser of emotions, valence and arousal."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from numpy.typing import NDArray
from torch import Tensor, nn

from diffrig_emo.losses.emotion import Balance, EmotionLoss, class_weights
from diffrig_emo.metrics.emotion import ConcordanceCorrelation, EmotionAccuracy
from diffrig_emo.metrics.functional.emotion import EMOTIONS
from diffrig_emo.modules.base import FaceModule
from diffrig_emo.perception.base import EmotionPrediction, EmotionRecognizer
from diffrig_emo.structures import FaceBatch


class ExpressionRecognizer(FaceModule):
    """Learn emotions from labelled faces, such as AffectNet's.

    Faces may lack the label (-1) or valence and arousal (NaN): what is there is learnt from. Validation logs
    `val/accuracy`, `val/mean_accuracy`, `val/accuracy_happy` and so on, `val/ccc_valence` and `val/ccc_arousal`, and
    writes the confusion matrix to `confusion_val.csv` in the logger's folder.

    Args:
        recognizer: the network.
        loss: weights of the label and of valence and arousal; the default learns both.
        augmentation: changes training pictures, (B, 3, H, W) in [0, 1], such as `FaceAugmentation`; None: none.
        class_balance: weigh rare labels more in the cross-entropy; see `losses.class_weights`. None: all alike, as is
            right where the DataModule draws rare ones more often (`AffectNetDataModule(class_balanced=True)`).
        class_counts: training faces of each label, for `class_balance`; None: they are counted where the data set
            knows them.
        optimizer: optimizer factory.
        lr_scheduler: learning-rate scheduler factory, stepped once per optimizer step; None keeps the rate.
        seed: with step and rank, fixes all randomness of training.

    Raises:
        ValueError: at the start of training, when no training face has a label or valence and arousal; when
            `class_balance` is wanted and nobody knows the counts.
    """

    def __init__(
        self,
        recognizer: EmotionRecognizer,
        loss: EmotionLoss | None = None,
        augmentation: nn.Module | None = None,
        class_balance: Balance | None = None,
        class_counts: list[int] | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, seed)
        self.save_hyperparameters()
        if class_counts is not None and len(class_counts) > len(EMOTIONS):
            raise ValueError(f"class_counts: expected at most {len(EMOTIONS)} numbers, got {len(class_counts)}")
        self.recognizer = recognizer
        self.loss = loss or EmotionLoss()
        self.augmentation = augmentation or nn.Identity()
        self.class_balance = class_balance
        self.class_counts = class_counts
        self.accuracy: Any = nn.ModuleDict({"val": EmotionAccuracy(), "test": EmotionAccuracy()})
        self.concordance: Any = nn.ModuleDict({"val": ConcordanceCorrelation(), "test": ConcordanceCorrelation()})

    def forward(self, image: Tensor) -> EmotionPrediction:
        """Emotions of faces of any size, RGB in [0, 1]."""
        prediction: EmotionPrediction = self.recognizer(image)
        return prediction

    def on_train_start(self) -> None:
        """Refuse faces that teach nothing, and weigh the labels."""
        dataset = getattr(self.trainer.train_dataloader, "dataset", None)
        name = type(dataset).__name__
        labels = _known_labels(dataset)
        if not (labels is not None and (labels >= 0).any()) and not _first_teaches(dataset, labels is None):
            raise ValueError(
                f"ExpressionRecognizer: the training faces ({name}) have neither labels nor valence and arousal; train "
                "on labelled faces, such as those of AffectNetDataModule"
            )
        if self.class_balance is None:
            return
        counts = self.class_counts
        if counts is None and labels is not None:
            counts = np.bincount(labels[labels >= 0]).tolist()
        if counts is None:
            raise ValueError(f"class_balance: {name} does not tell its labels in advance; give class_counts")
        weights = class_weights([*counts, *[0] * (len(EMOTIONS) - len(counts))], self.class_balance)
        self.loss.class_weight = weights.to(self.device)

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """One step on changed pictures."""
        prediction = self(self.augmentation(batch["image"]))
        return self._loss(prediction, batch, "train")

    def validation_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Loss and figures on held-out faces."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Loss and figures on test faces."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: FaceBatch, batch_idx: int = 0) -> EmotionPrediction:
        """Emotions of a batch."""
        return self.forward(batch["image"])

    def on_validation_epoch_end(self) -> None:
        """Log the figures, write the confusion matrix."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Log the figures, write the confusion matrix."""
        self._report("test")

    def _loss(self, prediction: EmotionPrediction, batch: FaceBatch, stage: str) -> Tensor:
        terms = self.loss(prediction.logits, prediction.va, batch.get("label"), batch.get("va"))
        size = len(batch["image"])
        loss: Tensor = terms.pop("loss")
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=size)
        self.log_dict({f"{stage}/{name}": term for name, term in terms.items()}, batch_size=size)
        return loss

    def _evaluate(self, batch: FaceBatch, stage: str) -> Tensor:
        prediction = self(batch["image"])
        unknown = torch.full_like(prediction.label, -1)
        self.accuracy[stage].update(prediction.logits, batch.get("label", unknown))
        self.concordance[stage].update(prediction.va, batch.get("va", torch.full_like(prediction.va, torch.nan)))
        return self._loss(prediction, batch, stage)

    def _report(self, stage: str) -> None:
        """Figures of the faces that had what they need."""
        accuracy, concordance = self.accuracy[stage], self.concordance[stage]
        figures = accuracy.compute()
        confusion = figures.pop("confusion")
        figures |= {f"ccc_{name}": value for name, value in concordance.compute().items()}
        self.log_dict({f"{stage}/{name}": value for name, value in figures.items() if not value.isnan()})
        folder = self.trainer.log_dir  # asked of every process
        if self.trainer.is_global_zero and not self.trainer.sanity_checking and folder is not None:
            write_confusion(Path(folder) / f"confusion_{stage}.csv", confusion)
        accuracy.reset()
        concordance.reset()


def write_confusion(path: Path, confusion: Tensor) -> None:
    """Write a confusion matrix as CSV: a row for each true label, a column for each label that was given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["true / given", *EMOTIONS])
        for name, row in zip(EMOTIONS, confusion.int().tolist(), strict=True):
            writer.writerow([name, *row])


def _known_labels(dataset: Any) -> NDArray[np.int64] | None:
    """Label of every face, -1 where unknown, of data sets that tell without loading a picture; None of others."""
    if hasattr(dataset, "datasets"):  # CombinedFaces
        parts = [_known_labels(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return np.concatenate(known) if len(known) == len(parts) else None
    labels = getattr(dataset, "labels", None)
    return None if labels is None else np.asarray(labels, np.int64)


def _first_teaches(dataset: Any, with_label: bool) -> bool:
    """Whether the first face has valence and arousal, or (where labels are not known in advance) a label to come."""
    if not hasattr(dataset, "__getitem__"):
        return True  # a stream: nothing can be said in advance
    face = dataset[0]
    return (with_label and "label" in face) or ("va" in face and not bool(face["va"].isnan().any()))
