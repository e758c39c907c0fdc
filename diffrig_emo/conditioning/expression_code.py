"""The expression as one vector: seen in a picture, named with a strength, or given as valence and arousal."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from typing_extensions import Self

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.perception.base import N_EMOTIONS, EmotionRecognizer
from diffrig_emo.structures import Conditioning, FaceBatch

_N_PLAIN = N_EMOTIONS + 2
"""Probabilities, valence, arousal: the last columns of every expression."""


class ExpressionCodeConditioner(Conditioner):
    """The expression e = [projected feature, 8 probabilities, valence, arousal] as one vector.

    A frozen recogniser sees it in the picture; without one, e is the batch's own `label` and `va`, where known, and has
    no feature. In training, the feature of every emotion is averaged, and each of the three parts, or all, are now and
    then replaced by a learnt null: so that any part may be missing, and guidance has something to guide away from.

    What is wanted instead of the picture's own expression is told by the batch, for each face:

    - `target_image`: the expression of another picture, where there is a recogniser to see it;
    - `target_label`, where there is no such picture: an emotion, as its faces look on average; -1 leaves it as it is;
    - `target_strength`: what lies between neutral (0) and the expression (1), or beyond;
    - `target_va`: valence and arousal; NaN leaves them. Without picture or label, nothing else is known then.

    Args:
        recognizer: sees the expression; frozen and in eval mode here. None takes `label` and `va` of the batch.
        feature_dim: length of the projected feature.
        name: name of the vector, as the denoiser's `VectorModulation` expects it.
        dropout: share of the training faces whose whole expression is the null.
        part_dropout: share of the training faces that lack a part, for each part.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> conditioner = ExpressionCodeConditioner().eval()
        >>> batch = FaceBatch(image=torch.rand(2, 3, 8, 8), label=torch.tensor([0, 1]), va=torch.zeros(2, 2))
        >>> conditioner(batch).vectors["expression"][1].tolist()
        [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
        >>> batch["target_label"], batch["target_strength"] = torch.tensor([4, 4]), torch.tensor([0.5, 1.0])
        >>> conditioner(batch).vectors["expression"][0, :8].tolist()
        [0.5, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        recognizer: EmotionRecognizer | None = None,
        feature_dim: int = 128,
        name: str = "expression",
        dropout: float = 0.1,
        part_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if feature_dim < 1 or not 0 <= dropout < 1 or not 0 <= part_dropout < 1:
            raise ValueError(
                "ExpressionCodeConditioner: expected feature_dim >= 1, dropout and part_dropout in [0, 1), got "
                f"feature_dim={feature_dim}, dropout={dropout}, part_dropout={part_dropout}"
            )
        self.name = name
        self.dropout = dropout
        self.part_dropout = part_dropout
        self.recognizer = recognizer
        self.project: nn.Linear | None = None
        seen = 0 if recognizer is None else recognizer.feature_dim
        self.parts = (N_EMOTIONS, 2) if recognizer is None else (feature_dim, N_EMOTIONS, 2)
        self.dim = sum(self.parts)
        """Length of the vector."""
        if recognizer is not None:
            recognizer.requires_grad_(False)
            self.project = nn.Linear(seen, feature_dim)
        self.null = nn.Parameter(torch.zeros(self.dim))
        self.register_buffer("class_sums", torch.zeros(N_EMOTIONS, seen + _N_PLAIN))
        self.register_buffer("class_counts", torch.zeros(N_EMOTIONS, seen + _N_PLAIN))
        self.class_sums: Tensor
        self.class_counts: Tensor
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts but the recogniser."""
        super().train(mode)
        if self.recognizer is not None:
            self.recognizer.eval()
        return self

    def forward(self, batch: FaceBatch) -> Conditioning:
        """Conditions from the pictures or labels of a batch, and the targets beside them: one vector (B, dim)."""
        return Conditioning(vectors={self.name: self.encode(self.observe(batch), batch)})

    def unconditional(self, batch: FaceBatch) -> Conditioning:
        """The null expression."""
        return Conditioning(vectors={self.name: self.null_code(batch["image"].shape[0])})

    def null_code(self, batch_size: int) -> Float[Tensor, "batch dim"]:
        """The learnt code of no known expression."""
        return self.null.expand(batch_size, -1)

    @torch.no_grad()
    def observe(self, batch: FaceBatch) -> Float[Tensor, "batch seen"]:
        """Each face's own expression [feature, probabilities, valence, arousal]; NaN where unknown.

        In training, the averages of the emotions grow by it.
        """
        label = batch.get("label")
        if self.recognizer is not None:
            own = self._recognize(batch["image"])
            likeliest = own[:, -_N_PLAIN:-2].argmax(dim=1)
            label = likeliest if label is None else torch.where(label < 0, likeliest, label)
        else:
            size = (batch["image"].shape[0],)
            label = batch["image"].new_full(size, -1, dtype=torch.long) if label is None else label
            va = batch.get("va", batch["image"].new_full((*size, 2), torch.nan))
            one_hot = F.one_hot(label.clamp(min=0), N_EMOTIONS).to(va)
            own = torch.cat([one_hot.masked_fill(label[:, None] < 0, torch.nan), va], dim=1)
        if self.training:
            known = label >= 0
            self.class_sums.index_add_(0, label[known], own[known].nan_to_num())
            self.class_counts.index_add_(0, label[known], (~own[known].isnan()).to(own))
        return own

    def encode(self, own: Float[Tensor, "batch seen"], batch: FaceBatch) -> Float[Tensor, "batch dim"]:
        """The code of the expression wanted: the batch's targets, or the faces' own."""
        wanted = self._wanted(own, batch)
        missing = wanted.isnan()
        known = [~part.any(dim=1) for part in (missing[:, :-_N_PLAIN], missing[:, -_N_PLAIN:-2], missing[:, -2:])]
        wanted = wanted.nan_to_num()
        code = wanted
        if self.project is not None:
            code = torch.cat([self.project(wanted[:, :-_N_PLAIN]), wanted[:, -_N_PLAIN:]], dim=1)
        kept = torch.stack(known[-len(self.parts) :], dim=1)
        if self.training:
            kept &= torch.rand(kept.shape, device=kept.device) >= self.part_dropout
            kept &= torch.rand(len(kept), 1, device=kept.device) >= self.dropout
        mask = torch.cat([kept[:, i : i + 1].expand(-1, size) for i, size in enumerate(self.parts)], dim=1)
        return torch.where(mask, code, self.null.to(code.dtype))

    def _recognize(self, image: Tensor) -> Tensor:
        assert self.recognizer is not None
        seen = self.recognizer(image)
        return torch.cat([seen.feature, seen.probabilities, seen.va], dim=1).float()

    @torch.no_grad()
    def _wanted(self, own: Tensor, batch: FaceBatch) -> Tensor:
        _check_targets(batch)
        wanted = own
        given = torch.zeros(len(own), 1, dtype=torch.bool, device=own.device)
        if "target_image" in batch and self.recognizer is not None:
            given = torch.ones_like(given)
            wanted = self._recognize(batch["target_image"])
        elif "target_label" in batch:
            label = batch["target_label"]
            given = (label >= 0)[:, None]
            wanted = torch.where(given, self._typical(label.clamp(min=0)), wanted)
        elif "target_image" in batch and "target_va" not in batch:
            raise ValueError(
                "target_image: an expression can be seen in a picture only by a recognizer; give "
                "ExpressionCodeConditioner one, or ask by target_label or target_va"
            )
        if "target_strength" in batch:
            neutral = self._typical(torch.zeros(len(own), dtype=torch.long, device=own.device))
            strength = batch["target_strength"][:, None].to(own)
            scaled = torch.lerp(neutral, wanted, strength)
            probabilities = F.normalize(scaled[:, -_N_PLAIN:-2].clamp(min=0), p=1, dim=1)
            scaled = torch.cat([scaled[:, :-_N_PLAIN], probabilities, scaled[:, -2:].clamp(-1, 1)], dim=1)
            wanted = torch.where(strength == 1, wanted, scaled)
        if "target_va" in batch:
            va = batch["target_va"].to(own)
            told = ~va.isnan().any(dim=1, keepdim=True)
            rest = torch.where(told & ~given, torch.nan, wanted[:, :-2])
            wanted = torch.cat([rest, torch.where(told, va, wanted[:, -2:])], dim=1)
        return wanted

    def _typical(self, label: Int[Tensor, " batch"]) -> Tensor:
        """What the faces of an emotion look like on average; NaN where none was seen, but its name is always known."""
        typical = self.class_sums[label] / self.class_counts[label]
        one_hot = F.one_hot(label, N_EMOTIONS).to(typical)
        probabilities = typical[:, -_N_PLAIN:-2]
        probabilities = torch.where(probabilities.isnan(), one_hot, probabilities)
        return torch.cat([typical[:, :-_N_PLAIN], probabilities, typical[:, -2:]], dim=1)


def _check_targets(batch: FaceBatch) -> None:
    size = batch["image"].shape[0]
    wanted = {"target_label": (size,), "target_strength": (size,), "target_va": (size, 2)}
    for name, shape in wanted.items():
        tensor = batch.get(name)
        if isinstance(tensor, Tensor) and tensor.shape != shape:
            raise ValueError(f"{name}: expected {shape} for {size} faces, got {tuple(tensor.shape)}")
    if "target_label" in batch and bool(((batch["target_label"] < -1) | (batch["target_label"] >= N_EMOTIONS)).any()):
        raise ValueError(f"target_label: expected 0 to {N_EMOTIONS - 1}, or -1, got {batch['target_label'].tolist()}")
    if "target_strength" in batch and bool((batch["target_strength"] < 0).any()):
        raise ValueError(f"target_strength: expected 0 or more, got {batch['target_strength'].tolist()}")
