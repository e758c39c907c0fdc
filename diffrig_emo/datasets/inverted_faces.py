"""Faces with their inverted latents, computed once and kept in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.metrics.functional.emotion import EMOTIONS
from diffrig_emo.structures import FaceBatch

FORMAT = "diffrig_emo inverted faces 1"
ALL = "all"
"""For `true_edits`: every emotion that a scene shows."""
_FIELDS = ("image", "latent", "label", "index")
_SCENE = "scene"


class InvertedFaces(Dataset[FaceBatch]):
    """What `write_inverted_faces` wrote: `image`, `latent`, `label` and `index` of each face.

    Args:
        path: the file.
        true_edits: an emotion, such as "happy". Every face comes with `true_edit`, the picture of its scene that shows
            that emotion, and with that emotion as `target_label`; faces of scenes without one are left out. "all":
            every face comes once for each emotion of its scene, its own too. None gives no true edits.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, or another file; when true edits are asked for and it has none.

    Attributes:
        last_step: step of the schedule that the latents are at.
        numbers: number in the file of each item's face, ascending.
    """

    def __init__(self, path: str | Path, true_edits: str | None = None) -> None:
        if true_edits not in (None, ALL, *EMOTIONS):
            raise ValueError(f"true_edits: expected one of {', '.join(EMOTIONS)}, or {ALL}, got {true_edits!r}")
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: expected inverted faces, but there is no such file; make it by diffrig-emo invert-emotions"
            )
        try:
            with safe_open(path, "pt") as file:
                about: Mapping[str, str] = file.metadata() or {}
                if about.get("format") != FORMAT:
                    raise ValueError(f"{path}: expected a file of format {FORMAT!r}, got {about.get('format')!r}")
                self._tensors = {name: file.get_tensor(name) for name in _FIELDS}
                names = set(file.keys())
                scene = file.get_tensor(_SCENE) if true_edits is not None and _SCENE in names else None
        except SafetensorError as error:
            raise ValueError(f"{path} cannot be read as inverted faces: torn, or another file ({error})") from error
        self.last_step = int(about["last_step"])
        self.numbers, self._edits = list(range(len(self._tensors["label"]))), None
        if true_edits is not None:
            if scene is None:
                raise ValueError(
                    f"true_edits: {path} does not say which faces are of one scene; make it by diffrig-emo "
                    "invert-emotions --scenes true, or leave true_edits out"
                )
            wanted = range(len(EMOTIONS)) if true_edits == ALL else [EMOTIONS.index(true_edits)]
            self.numbers, self._edits = _true_edits(scene, self._tensors["label"], wanted)
            if not self.numbers:
                raise ValueError(f"true_edits: no scene of {path} has a face whose emotion is {true_edits}")
        self.labels = self._tensors["label"][self.numbers].numpy()

    def __len__(self) -> int:
        """Number of faces."""
        return len(self.numbers)

    def __getitem__(self, index: int) -> FaceBatch:
        """One face; its pictures RGB in [0, 1]."""
        face = self.numbers[index]
        item = {name: tensor[face] for name, tensor in self._tensors.items()}
        item["image"] = item["image"].float() / 255
        if self._edits is not None:
            edit = self._edits[index]
            item["true_edit"] = self._tensors["image"][edit].float() / 255
            item["target_label"] = self._tensors["label"][edit]
        return cast(FaceBatch, item)


def _true_edits(scene: Tensor, label: Tensor, wanted: Sequence[int]) -> tuple[list[int], list[int]]:
    """Faces whose scene has one with an emotion, and that one; face by face, and for each in the order of emotions."""
    shown = dict(zip(zip(scene.tolist(), label.tolist(), strict=True), range(len(label)), strict=True))
    pairs = [
        (face, shown[place, emotion])
        for face, place in enumerate(scene.tolist())
        for emotion in wanted
        if (place, emotion) in shown
    ]
    return [face for face, _ in pairs], [edit for _, edit in pairs]


def write_inverted_faces(
    path: str | Path, batch: FaceBatch, last_step: int, scene: Int[Tensor, " faces"] | None = None
) -> None:
    """Keep faces with their latents.

    Args:
        path: the `.safetensors` file.
        batch: all faces, with `image` in [0, 1] (kept in 8 bits), `latent`, `label` and `index`.
        last_step: step of the schedule that the latents are at.
        scene: a number (faces,), the same for faces that differ in the emotion alone; None when nothing is known.

    Raises:
        ValueError: when a field is missing, or not every face has a scene.
    """
    missing = [name for name in _FIELDS if name not in batch]
    if missing:
        raise ValueError(f"batch: expected {', '.join(_FIELDS)}, got none of {', '.join(missing)}")
    tensors: dict[str, Tensor] = {
        "image": (batch["image"].clamp(0, 1) * 255).round().to(torch.uint8),
        "latent": batch["latent"].float(),
        "label": batch["label"],
        "index": batch["index"],
    }
    if scene is not None:
        if scene.shape != batch["label"].shape:
            raise ValueError(f"scene: expected one number per face, {len(batch['label'])}, got {tuple(scene.shape)}")
        tensors[_SCENE] = scene
    with atomic_path(path) as temporary:
        content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(content, temporary, {"format": FORMAT, "last_step": str(last_step)})
