"""Faces with their inverted latents, computed once and kept in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import Dataset

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.structures import FaceBatch

FORMAT = "diffrig_emo inverted faces 1"
_FIELDS = ("image", "latent", "label", "index")


class InvertedFaces(Dataset[FaceBatch]):
    """What `write_inverted_faces` wrote: `image`, `latent`, `label` and `index` of each face.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, or another file.

    Attributes:
        last_step: step of the schedule that the latents are at.
    """

    def __init__(self, path: str | Path) -> None:
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
        except SafetensorError as error:
            raise ValueError(f"{path} cannot be read as inverted faces: torn, or another file ({error})") from error
        self.last_step = int(about["last_step"])
        self.labels = self._tensors["label"].numpy()

    def __len__(self) -> int:
        """Number of faces."""
        return len(self._tensors["label"])

    def __getitem__(self, index: int) -> FaceBatch:
        """One face; its picture RGB in [0, 1]."""
        item = {name: tensor[index] for name, tensor in self._tensors.items()}
        return FaceBatch(**{**item, "image": item["image"].float() / 255})  # type: ignore[typeddict-item]


def write_inverted_faces(path: str | Path, batch: FaceBatch, last_step: int) -> None:
    """Keep faces with their latents.

    Args:
        path: the `.safetensors` file.
        batch: all faces, with `image` in [0, 1] (kept in 8 bits), `latent`, `label` and `index`.
        last_step: step of the schedule that the latents are at.

    Raises:
        ValueError: when a field is missing.
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
    with atomic_path(path) as temporary:
        content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(content, temporary, {"format": FORMAT, "last_step": str(last_step)})
