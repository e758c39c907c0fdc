"""How well emotions, valence and arousal are recognised."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

EMOTIONS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
"""Names of AffectNet's labels 0 to 7."""


def emotion_confusion(
    pred: Shaped[Tensor, "batch ..."], label: Int[Tensor, " batch"]
) -> Float[Tensor, "n_emotions n_emotions"]:
    """How many faces of each true label (row) were given each label (column).

    Args:
        pred: logits (batch, 8), or labels (batch,).
        label: true labels, 0 to 7; -1 where unknown, which do not count.

    Raises:
        ValueError: when shapes differ or a label is above 7.

    Example:
        >>> confusion = emotion_confusion(torch.tensor([1, 1, 2]), torch.tensor([1, 2, -1]))
        >>> confusion[1, 1].item(), confusion[2, 1].item(), confusion.sum().item()
        (1.0, 1.0, 2.0)
    """
    if pred.ndim == 2 and pred.shape[1] == len(EMOTIONS):
        pred = pred.argmax(dim=1)
    if pred.ndim != 1 or pred.shape != label.shape:
        raise ValueError(
            f"pred and label: expected logits (batch, {len(EMOTIONS)}) or labels (batch,) with labels (batch,), got "
            f"{tuple(pred.shape)} and {tuple(label.shape)}"
        )
    known = label >= 0
    for name, numbers in {"pred": pred[known], "label": label[known]}.items():
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(EMOTIONS):
            raise ValueError(f"{name}: expected labels from 0 to 7, or -1 in label alone, got {numbers.tolist()[:8]}")
    cells = label[known] * len(EMOTIONS) + pred[known]
    return torch.bincount(cells, minlength=len(EMOTIONS) ** 2).reshape(len(EMOTIONS), -1).float()


def emotion_top2(pred: Float[Tensor, "batch 8"], label: Int[Tensor, " batch"]) -> Bool[Tensor, " known"]:
    """Whether the true label is one of the two likeliest, for every face that has one.

    Args:
        pred: logits.
        label: true labels, -1 where unknown; those faces are left out.

    Raises:
        ValueError: when the shapes differ.

    Example:
        >>> emotion_top2(torch.tensor([[3.0, 2, 1, 0, 0, 0, 0, 0]] * 3), torch.tensor([1, 2, -1])).tolist()
        [True, False]
    """
    if pred.shape != (len(label), len(EMOTIONS)):
        raise ValueError(f"pred: expected logits ({len(label)}, {len(EMOTIONS)}), got {tuple(pred.shape)}")
    known = label >= 0
    return (pred[known].topk(2, dim=1).indices == label[known, None]).any(dim=1)


def emotion_accuracy(pred: Shaped[Tensor, "batch ..."], label: Int[Tensor, " batch"]) -> dict[str, Float[Tensor, ""]]:
    """Share of faces that are given their true label.

    Args:
        pred: logits (batch, 8), or labels (batch,).
        label: true labels, -1 where unknown.

    Returns:
        `accuracy` over all faces; `mean_accuracy`, the mean over the labels that occur; `accuracy_neutral`,
        `accuracy_happy`, ... of each label, NaN where it does not occur; and `top2_accuracy`, the share of faces whose
        label is one of the two likeliest, NaN without logits.

    Raises:
        ValueError: as `emotion_confusion`.

    Example:
        >>> figures = emotion_accuracy(torch.tensor([0, 0, 1, 3]), torch.tensor([0, 0, 1, 1]))
        >>> figures["accuracy"].item(), figures["mean_accuracy"].item(), figures["accuracy_happy"].item()
        (0.75, 0.75, 0.5)
    """
    return _accuracy_compute(emotion_confusion(pred, label), _top2_update(pred, label))


def _top2_update(pred: Tensor, label: Tensor) -> Tensor:
    """How many faces were among the two likeliest, and of how many."""
    hits = emotion_top2(pred, label) if pred.ndim == 2 else torch.zeros(0, device=pred.device)
    return torch.stack([hits.sum().float(), hits.new_tensor(len(hits), dtype=torch.float)])


def _accuracy_compute(confusion: Tensor, top2: Tensor) -> dict[str, Tensor]:
    right, faces = confusion.diagonal(), confusion.sum(dim=1)
    each = right / faces
    figures = {"accuracy": right.sum() / faces.sum(), "mean_accuracy": each.nanmean()}
    figures["top2_accuracy"] = top2[0] / top2[1]
    return figures | {f"accuracy_{name}": value for name, value in zip(EMOTIONS, each, strict=True)}


def concordance_correlation(
    pred: Float[Tensor, "batch dims"], target: Float[Tensor, "batch dims"]
) -> Float[Tensor, " dims"]:
    """Concordance correlation coefficient of every column (Lin, 1989).

    `2 cov / (var_p + var_t + (mean_p - mean_t)^2)`: 1 when equal, 0 when unrelated; unlike a correlation it also falls
    when predictions are shifted or scaled.

    Args:
        pred: predicted values, such as valence and arousal.
        target: annotated values; rows with a NaN do not count.

    Returns:
        One number in [-1, 1] per column; NaN without annotated rows, or where all numbers are one.

    Raises:
        ValueError: when the shapes differ.

    Example:
        >>> target = torch.tensor([[0.0], [0.5], [1.0]])
        >>> round(concordance_correlation(target + 0.5, target).item(), 3)
        0.571
    """
    return _concordance_compute(*_concordance_update(pred, target))


def _concordance_update(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of p, t, p^2, t^2, p t, each (dims,), and the number of rows."""
    if pred.ndim != 2 or pred.shape != target.shape:
        raise ValueError(
            f"pred and target: expected equal shapes (batch, dims), got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    known = ~target.isnan().any(dim=1)
    p, t = pred[known].float(), target[known].float()
    return torch.stack([p, t, p * p, t * t, p * t]).sum(dim=1), known.sum().float()


def _concordance_compute(sums: Tensor, count: Tensor) -> Tensor:
    p, t, pp, tt, pt = sums / count
    ccc: Tensor = 2 * (pt - p * t) / (pp - p * p + tt - t * t + (p - t).square())
    return ccc
