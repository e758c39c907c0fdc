"""The emotion's name as a condition: a trained vector, or a token for cross-attention."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.structures import Conditioning, FaceBatch


class EmotionLabelConditioner(Conditioner):
    """One trained embedding per emotion, and one for none.

    Conditions on `batch["target_label"]` where it is given and not -1, else on `batch["label"]`; -1 is the null
    embedding. `batch["target_strength"]`, if given, goes from the embedding of emotion 0, neutral, towards that of the
    label and beyond. In training the null embedding now and then takes a label's place, for classifier-free guidance.

    Args:
        dim: length of an embedding.
        num_classes: number of emotions, neutral first; AffectNet's are 8.
        form: "vector" for a `VectorModulation`, "token" for cross-attention: a sequence of one token.
        name: name of the vector.
        dropout: how often the null embedding takes a label's place in training.
        dropout_per: whether that is drawn for every face, or once for a whole batch.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> conditioner = EmotionLabelConditioner(dim=16, form="token").eval()
        >>> conditioner({"label": torch.tensor([0, 7, -1])}).tokens.shape
        torch.Size([3, 1, 16])
    """

    def __init__(
        self,
        dim: int = 512,
        num_classes: int = 8,
        form: Literal["vector", "token"] = "vector",
        name: str = "emotion",
        dropout: float = 0.1,
        dropout_per: Literal["sample", "batch"] = "sample",
    ) -> None:
        super().__init__()
        if dim < 1 or num_classes < 1 or not 0 <= dropout <= 1:
            raise ValueError(
                "EmotionLabelConditioner: expected positive dim and num_classes, and dropout in [0, 1], got "
                f"dim={dim}, num_classes={num_classes}, dropout={dropout}"
            )
        self.num_classes = num_classes
        self.form = form
        self.name = name
        self.dropout = dropout
        self.dropout_per = dropout_per
        self.embedding = nn.Embedding(num_classes, dim)
        self.null = nn.Parameter(torch.randn(dim))

    def forward(self, batch: FaceBatch) -> Conditioning:
        """Conditions from the labels of a batch: a vector (B, dim), or tokens (B, 1, dim)."""
        label = self._label(batch)
        embedded: Tensor = self.embedding(label.clamp(min=0))
        if "target_strength" in batch:
            strength = batch["target_strength"][:, None].to(embedded)
            neutral = self.embedding.weight[0]
            embedded = neutral + strength * (embedded - neutral)
        kept = label >= 0
        if self.training:
            draws = torch.rand(1 if self.dropout_per == "batch" else len(label), device=label.device)
            kept = kept & (draws >= self.dropout)
        return self._formed(torch.where(kept[:, None], embedded, self.null.to(embedded.dtype)))

    def unconditional(self, batch: FaceBatch) -> Conditioning:
        """The null embedding for every face."""
        return self._formed(self.null.expand(len(self._label(batch)), -1))

    def _formed(self, embedded: Float[Tensor, "batch dim"]) -> Conditioning:
        if self.form == "token":
            return Conditioning(tokens=embedded[:, None])
        return Conditioning(vectors={self.name: embedded})

    def _label(self, batch: FaceBatch) -> Tensor:
        label, target = batch.get("label"), batch.get("target_label")
        if label is None and target is None:
            raise ValueError(
                "label: EmotionLabelConditioner needs `label` or `target_label` in the batch; take labelled faces, "
                "such as AffectNet's"
            )
        if label is None or target is None:
            label = target if label is None else label
        else:
            label = torch.where(target < 0, label, target)
        assert label is not None
        if bool(((label < -1) | (label >= self.num_classes)).any()):
            raise ValueError(f"label: expected 0 to {self.num_classes - 1}, or -1, got {label.tolist()}")
        return label
