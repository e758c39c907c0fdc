"""The loss of a recogniser of emotions: labels, valence and arousal, whichever of them a face has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from diffrig_emo.losses.agreement import annotated, concordance_loss, correlation_loss

Balance = Literal["inverse", "effective"]
"""How rare classes count more: by 1/n, or by 1/E(n), the effective number of faces."""


def class_weights(
    counts: Sequence[int], balance: Balance = "effective", beta: float = 0.9999
) -> Float[Tensor, " n_classes"]:
    """Weights that make up for classes of different sizes.

    `inverse` is 1/n; `effective` is 1/E(n) with E(n) = (1 - beta^n) / (1 - beta), which is nearly 1/n for small classes
    and levels off at 1 - beta for large ones, whose faces repeat each other (Cui et al., "Class-balanced loss based on
    effective number of samples", 2019, equation 2).

    Args:
        counts: training faces of each class.
        balance: which of the two.
        beta: (N - 1) / N for N distinct faces that a class could have at most.

    Returns:
        Weights whose mean over the training faces is 1; 0 for classes without a face.

    Raises:
        ValueError: when no class has a face, a count is negative, or beta is outside [0, 1).

    Example:
        >>> class_weights([90, 10], "inverse").tolist()
        [0.555..., 5.0]
    """
    n = torch.tensor(list(counts), dtype=torch.float64)
    if n.ndim != 1 or (n < 0).any() or not n.sum():
        raise ValueError(f"counts: expected the faces of each class, at least one of them above 0, got {list(counts)}")
    if not 0 <= beta < 1:
        raise ValueError(f"beta: expected a number in [0, 1), got {beta}")
    effective = n if balance == "inverse" else (1 - beta**n) / (1 - beta)
    weights = torch.where(n > 0, 1 / effective.clamp(min=1e-12), 0)
    return (weights * n.sum() / (weights * n).sum()).float()


class EmotionLoss(nn.Module):
    """Cross-entropy of the label, and four terms of valence and arousal.

    What a face lacks (label -1, NaN in valence or arousal) does not count.

    Args:
        label: weight of the cross-entropy.
        valence_mse: weight of the mean squared error of valence.
        arousal_mse: weight of the mean squared error of arousal.
        correlation: weight of 1 - PCC, mean of both.
        concordance: weight of 1 - CCC, mean of both.
        shake: in training, draw the last four weights anew at every step, uniformly and with sum 1, as for EMOCA's
            emotion network.

    Raises:
        ValueError: when a weight is negative, or all are 0.

    Example:
        >>> loss = EmotionLoss()
        >>> logits, va = torch.zeros(2, 8), torch.zeros(2, 2)
        >>> terms = loss(logits, va, torch.tensor([3, -1]), torch.tensor([[0.5, 0.5], [-0.5, -0.5]]))
        >>> round(terms["label"].item(), 4), terms["valence_mse"].item()
        (2.0794, 0.25)
    """

    class_weight: Tensor | None

    def __init__(
        self,
        label: float = 1.0,
        valence_mse: float = 0.5,
        arousal_mse: float = 0.5,
        correlation: float = 0.0,
        concordance: float = 0.5,
        shake: bool = False,
    ) -> None:
        super().__init__()
        self.weights = {
            "label": label,
            "valence_mse": valence_mse,
            "arousal_mse": arousal_mse,
            "correlation": correlation,
            "concordance": concordance,
        }
        if min(self.weights.values()) < 0 or not any(self.weights.values()):
            raise ValueError(f"EmotionLoss: expected weights of at least 0 and not all 0, got {self.weights}")
        self.shake = shake
        # Not saved: it is that of the data set that is trained on.
        self.register_buffer("class_weight", None, persistent=False)

    def forward(
        self,
        logits: Float[Tensor, "batch 8"],
        va: Float[Tensor, "batch 2"],
        label: Int[Tensor, " batch"] | None,
        true_va: Float[Tensor, "batch 2"] | None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Every term by name, unweighted, and `loss`, their weighted sum.

        Args:
            logits: unnormalised log-probabilities of the labels.
            va: predicted valence and arousal.
            label: true labels, -1 where unknown; None: all unknown.
            true_va: true valence and arousal in [-1, 1], NaN where unknown; None: all unknown.
        """
        terms = {"label": self._label_loss(logits, label)}
        target = torch.full_like(va, torch.nan) if true_va is None else true_va.to(va)
        known = annotated(target)
        error = (va - target)[known].square().sum(dim=0) / known.sum().clamp(min=1)
        terms |= {"valence_mse": error[0], "arousal_mse": error[1]}
        terms |= {"correlation": correlation_loss(va, target), "concordance": concordance_loss(va, target)}
        weights = self._weights()
        terms["loss"] = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return terms

    def _label_loss(self, logits: Tensor, label: Tensor | None) -> Tensor:
        """Weighted mean, and 0 rather than NaN where no label is known."""
        if label is None:
            return logits.sum() * 0
        known = label >= 0
        losses = F.cross_entropy(logits, label.clamp(min=0), reduction="none") * known
        if self.class_weight is None:
            return losses.sum() / known.sum().clamp(min=1)
        weight = self.class_weight[label.clamp(min=0)]
        return (weight * losses).sum() / (weight * known).sum().clamp(min=1e-12)

    def _weights(self) -> dict[str, float]:
        if not (self.shake and self.training):
            return self.weights
        names = list(self.weights)[1:]
        drawn = torch.rand(len(names))
        return {**self.weights, **dict(zip(names, (drawn / drawn.sum()).tolist(), strict=True))}
