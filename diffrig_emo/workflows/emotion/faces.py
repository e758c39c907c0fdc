"""The faces that emotions are edited on, and what is known of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures import FaceBatch, face_collate
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.synthesis.emotions import with_emotion
from diffrig_emo.workflows.emotion.parts import load_data

HELD_OUT = 700
"""Seed of the study's synthetic faces: nobody of them is met in a shipped config."""


@dataclasses.dataclass(frozen=True)
class EmotionFaces:
    """Held-out faces with labels."""

    batch: FaceBatch
    """`image`, `label` (0..7), `index`; of synthetic faces also `codes` and `va`."""
    synthetic: SyntheticFaces | None
    """Takes true edits; None for photographs, which have none."""

    def __len__(self) -> int:
        return len(self.batch["label"])

    def part(self, numbers: Sequence[int]) -> FaceBatch:
        """Some of the faces."""
        chosen = torch.tensor(list(numbers), dtype=torch.long)
        names = ("image", "label", "index", "codes", "va")
        batch: dict[str, Any] = {**self.batch}
        found: Any = {name: batch[name][chosen] for name in names if name in batch}
        return cast(FaceBatch, found)

    def true_edit(self, numbers: Sequence[int], target: int) -> Float[Tensor, "batch 3 size size"] | None:
        """Clean photographs of some faces with another emotion; None where nobody can take them."""
        if self.synthetic is None:
            return None
        faces = self.part(numbers)
        wanted = torch.full_like(faces["label"], target)
        codes = with_emotion(faces["codes"], faces["label"], faces["va"], wanted)
        return self.synthetic.photograph(list(numbers), codes=codes, clean=True)

    def clean(self, numbers: Sequence[int]) -> Float[Tensor, "batch 3 size size"] | None:
        """The photographs themselves without sensor noise and JPEG, where they can be had."""
        return None if self.synthetic is None else self.synthetic.photograph(list(numbers), clean=True)


def emotion_faces(data: str | None, count: int, image_size: int) -> EmotionFaces:
    """Faces of a DataModule's validation, or synthetic ones.

    Args:
        data: YAML of a DataModule; None: synthetic faces.
        count: how many; of photographs, spread evenly over the validation faces.
        image_size: side of synthetic faces in pixels.

    Raises:
        ValueError: when there are fewer labelled faces.
    """
    if data is None:
        synthetic = SyntheticFaces(count, image_size, seed=HELD_OUT)
        return EmotionFaces(next(synthetic.batches(count)), synthetic)
    module = load_data(data)
    module.setup("validate")
    dataset = module.val_dataset  # type: ignore[attr-defined]
    if len(dataset) < count:
        raise ValueError(f"faces: expected at most {len(dataset)}, the validation faces of {data}, got {count}")
    items = [dataset[i * len(dataset) // count] for i in range(count)]
    if any("label" not in item or int(item["label"]) < 0 for item in items):
        raise ValueError(f"data: {data} has faces without an emotion label; take labelled ones, such as AffectNet's")
    names = ("image", "label", "index")
    return EmotionFaces(face_collate([{name: item[name] for name in names} for item in items]), None)
