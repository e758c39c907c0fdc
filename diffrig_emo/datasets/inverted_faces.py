"""Faces with their inverted latents, computed once and kept in one file."""

from __future__ import annotations

from collections.abc import Mapping
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
_FIELDS = ("image", "latent", "label", "index")
_SCENE = "scene"


class InvertedFaces(Dataset[FaceBatch]):
    """What `write_inverted_faces` wrote: `image`, `latent`, `label` and `index` of each face.

    Args:
        path: the file.
        true_edits: an emotion, such as "happy". Every face comes with `true_edit`, the picture of its scene that shows
            that emotion; faces of scenes without one are left out. None gives no true edits.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, or another file; when true edits are asked for and it has none.

    Attributes:
        last_step: step of the schedule that the latents are at.
    """

    def __init__(self, path: str | Path, true_edits: str | None = None) -> None:
        if true_edits is not None and true_edits not in EMOTIONS:
            raise ValueError(f"true_edits: expected one of {', '.join(EMOTIONS)}, got {true_edits!r}")
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
        self._faces, self._edits = list(range(len(self._tensors["label"]))), None
        if true_edits is not None:
            if scene is None:
                raise ValueError(
                    f"true_edits: {path} does not say which faces are of one scene; make it by diffrig-emo "
                    "invert-emotions --scenes true, or leave true_edits out"
                )
            self._faces, self._edits = _true_edits(scene, self._tensors["label"], EMOTIONS.index(true_edits))
            if not self._faces:
                raise ValueError(f"true_edits: no scene of {path} has a face whose emotion is {true_edits}")
        self.labels = self._tensors["label"][self._faces].numpy()

    def __len__(self) -> int:
        """Number of faces."""
        return len(self._faces)

    def __getitem__(self, index: int) -> FaceBatch:
        """One face; its pictures RGB in [0, 1]."""
        face = self._faces[index]
        item = {name: tensor[face] for name, tensor in self._tensors.items()}
        item["image"] = item["image"].float() / 255
        if self._edits is not None:
            item["true_edit"] = self._tensors["image"][self._edits[index]].float() / 255
        return cast(FaceBatch, item)


def _true_edits(scene: Tensor, label: Tensor, wanted: int) -> tuple[list[int], list[int]]:
    """Faces whose scene has one with an emotion, and that one."""
    edits = {int(scene[face]): face for face in torch.nonzero(label == wanted).flatten().tolist()}
    faces = [face for face, place in enumerate(scene.tolist()) if place in edits]
    return faces, [edits[int(scene[face])] for face in faces]


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
