"""Emotions, valence and arousal over many batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torchmetrics import Metric

from diffrig_emo.metrics.functional.emotion import (
    EMOTIONS,
    _accuracy_compute,
    _concordance_compute,
    _concordance_update,
    _top2_update,
    emotion_confusion,
)


class EmotionLogits(Protocol):
    """What a recogniser gives, such as `perception.EmotionPrediction`."""

    @property
    def logits(self) -> Tensor:
        """(B, 8), in the order of `metrics.functional.EMOTIONS`."""


class EmotionAccuracy(Metric):
    """Share of faces with the right label, over all and for each label; see `metrics.functional.emotion_accuracy`.

    For edits the label is the emotion that was asked for. No recogniser is always right: a second instance on true
    photographs of the labels gives the ceiling.

    Args:
        recognizer: judges pictures, such as `perception.HSEmotionRecognizer`. None: `update` is given its answers.

    Example:
        >>> metric = EmotionAccuracy()
        >>> metric.update(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2]))
        >>> metric.update(torch.tensor([1]), torch.tensor([-1]))  # unknown: does not count
        >>> round(metric.compute()["accuracy"].item(), 3), int(metric.compute()["confusion"].sum())
        (0.667, 3)
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    confusion: Tensor
    top2: Tensor

    def __init__(self, recognizer: Callable[[Tensor], EmotionLogits] | None = None) -> None:
        super().__init__()
        self.recognizer = recognizer
        self.add_state("top2", default=torch.zeros(2), dist_reduce_fx="sum")
        self.add_state("confusion", default=torch.zeros(len(EMOTIONS), len(EMOTIONS)), dist_reduce_fx="sum")

    def update(self, pred: Tensor, label: Tensor) -> None:
        """Add a batch.

        Args:
            pred: with a recogniser pictures (B, 3, H, W), RGB in [0, 1]; without one logits (B, 8) or labels (B,).
            label: true labels (B,), -1 where unknown.
        """
        if self.recognizer is not None:
            pred = self.recognizer(pred).logits
        self.confusion += emotion_confusion(pred, label)
        self.top2 += _top2_update(pred, label)

    def compute(self) -> dict[str, Tensor]:
        """`accuracy`, `mean_accuracy`, `top2_accuracy`, `accuracy_neutral`, ..., NaN without a face; and `confusion`.

        `confusion` is (8, 8): faces of each true label (row) that were given each label (column).
        """
        return _accuracy_compute(self.confusion, self.top2) | {"confusion": self.confusion}


class ConcordanceCorrelation(Metric):
    """Concordance correlation of valence and arousal; see `metrics.functional.concordance_correlation`.

    Example:
        >>> metric = ConcordanceCorrelation()
        >>> metric.update(torch.tensor([[0.1, 0.2], [0.5, 0.4]]), torch.tensor([[0.1, 0.2], [0.5, 0.4]]))
        >>> {name: round(value.item(), 3) for name, value in metric.compute().items()}
        {'valence': 1.0, 'arousal': 1.0}
    """

    is_differentiable = True
    higher_is_better = True
    full_state_update = False

    sums: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", default=torch.zeros(5, 2), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros(()), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch: valence and arousal (B, 2) in [-1, 1], NaN in `target` where unknown."""
        sums, count = _concordance_update(pred, target)
        self.sums += sums
        self.count += count

    def compute(self) -> dict[str, Tensor]:
        """`valence` and `arousal`; NaN when no face was annotated."""
        valence, arousal = _concordance_compute(self.sums, self.count)
        return {"valence": valence, "arousal": arousal}
