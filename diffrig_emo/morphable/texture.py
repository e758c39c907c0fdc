"""Albedo maps of FLAME, read from the official texture files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.morphable.base import TextureModel
from diffrig_emo.utils.assets import locate_asset


class FlameTexture(TextureModel):
    """A linear texture space in FLAME's UV layout: `albedo = mean + sum_k tex_k component_k`.

    Reads `FLAME_texture.npz` (arrays `mean`, `tex_dir`, in 0..255), which DiffusionRig uses, or
    `FLAME_albedo_from_BFM.npz` (arrays `MU`, `PC`, in 0..1), for which the texture codes of DECA and EMOCA
    were trained. They are told apart by the names of their arrays.

    The files are licensed, so their contents are left out of checkpoints and read again.

    Args:
        path: the `.npz` file, or the folder of `FLAME_texture.npz`. None: it is looked for where
            `diffrig_emo.utils.assets` looks.
        n_tex: how many texture coefficients to use (at most 200 or 199; DECA 50).
        image_size: side of the albedo map in pixels; divides the file's 512. Pixels are picked, not averaged,
            as in DECA.

    Raises:
        FileNotFoundError: naming the missing file, where it was looked for and where to get it.
        ValueError: when the file is damaged or holds arrays of other names or shapes.

    Example:
        ```python
        texture = FlameTexture("data/FLAME_texture.npz")
        texture(torch.zeros(1, 50)).shape  # (1, 3, 256, 256)
        ```
    """

    mean: Tensor
    components: Tensor

    def __init__(self, path: str | Path | None = None, n_tex: int = 50, image_size: int = 256) -> None:
        super().__init__()
        path = locate_asset("flame_texture", path)
        mean, components, white = _read(path)
        side, n_total = mean.shape[0], components.shape[-1]
        if not 1 <= n_tex <= n_total:
            raise ValueError(f"n_tex: expected 1..{n_total}, the components of {path}, got {n_tex}")
        if image_size < 1 or side % image_size:
            raise ValueError(f"image_size: expected a divisor of {side}, the side of {path}, got {image_size}")
        self.n_tex, self.image_size = n_tex, image_size
        step = side // image_size
        # The files are BGR, height and width first; -1 reverses the channels.
        mean = mean[::step, ::step, ::-1].transpose(2, 0, 1) / white
        components = components[::step, ::step, ::-1, :n_tex].transpose(3, 2, 0, 1) / white
        self.register_buffer("mean", _float32(mean), persistent=False)
        self.register_buffer("components", _float32(components).flatten(1), persistent=False)

    def forward(self, tex: Float[Tensor, "batch n_tex"]) -> Float[Tensor, "batch 3 size size"]:
        """Decode texture codes.

        Args:
            tex: texture coefficients.

        Returns:
            Albedo in UV space, RGB about [0, 1] and not clamped; row 0 lies at v = 1.

        Raises:
            ValueError: when `tex` has another number of coefficients.
        """
        if tex.ndim != 2 or tex.shape[1] != self.n_tex:
            raise ValueError(f"tex: expected a tensor of shape (batch, {self.n_tex}), got {tuple(tex.shape)}")
        return self.mean + (tex @ self.components).reshape(-1, *self.mean.shape)


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean (side, side, 3), components (side, side, 3, n), both BGR, and the value that stands for white."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            if {"mean", "tex_dir"} <= set(file.files):
                mean, components, white = file["mean"], file["tex_dir"], 255.0
            elif {"MU", "PC"} <= set(file.files):
                flat_mean, flat_components, white = file["MU"], file["PC"], 1.0
                side = round((flat_mean.size / 3) ** 0.5)
                mean = flat_mean.reshape(side, side, 3)
                components = flat_components.reshape(side, side, 3, -1)
            else:
                raise ValueError(f"expected the arrays mean, tex_dir or MU, PC, got {file.files}")
    except (ValueError, TypeError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no texture space could be read: {error}") from error
    if mean.ndim != 3 or mean.shape != (len(mean), len(mean), 3) or components.shape[:-1] != mean.shape:
        raise ValueError(
            f"{path}: expected a mean of shape (side, side, 3) and components (side, side, 3, n), got "
            f"{mean.shape} and {components.shape}"
        )
    return mean, components, white


def _float32(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
