"""Albedo maps of FLAME, read from the official texture files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.io.npz import array_shapes, read_array, read_columns
from diffrig_emo.morphable.base import TextureModel
from diffrig_emo.utils.assets import locate_asset


class FlameTexture(TextureModel):
    """A linear texture space in FLAME's UV layout: `albedo = mean + sum_k tex_k component_k`.

    Reads `FLAME_texture.npz` (arrays `mean`, `tex_dir`, in 0..255), which DiffusionRig uses, or
    `FLAME_albedo_from_BFM.npz` (arrays `MU`, `PC`, in 0..1), for which the texture codes of DECA and EMOCA
    were trained. They are told apart by the names of their arrays.

    The files are licensed, so their contents are left out of checkpoints and read again.

    Args:
        path: the `.npz` file, official or converted, or its folder. None: it is looked for
            where `diffrig_emo.utils.assets` looks.
        n_tex: how many texture coefficients to use (at most 200 or 199; DECA 50).
        image_size: side of the albedo map in pixels; divides the file's 512. Pixels are picked, not averaged,
            as in DECA.
        kind: "flame" for the first of those files, "bfm" for the second: which one to look for, and to insist on.
            None: whichever `path` is, else the first.

    Raises:
        FileNotFoundError: naming the missing file, where it was looked for and where to get it.
        ValueError: when the file is damaged, of the other kind, or holds arrays of other names or shapes.

    Example:
        ```python
        texture = FlameTexture("data/FLAME_texture.npz")
        texture(torch.zeros(1, 50)).shape  # (1, 3, 256, 256)
        ```
    """

    mean: Tensor
    components: Tensor

    def __init__(
        self,
        path: str | Path | None = None,
        n_tex: int = 50,
        image_size: int = 256,
        kind: Literal["flame", "bfm"] | None = None,
    ) -> None:
        super().__init__()
        path = locate_asset("bfm_albedo" if kind == "bfm" else "flame_texture", path)
        space = texture_space(path)
        if kind not in (None, space.kind):
            raise ValueError(
                f"{path}: expected a texture space of kind {kind!r}, got {space.kind!r}. DiffusionRig was trained with "
                "FLAME_texture.npz ('flame'); codes of DECA and EMOCA belong to FLAME_albedo_from_BFM.npz ('bfm')"
            )
        if not 1 <= n_tex <= space.n_total:
            raise ValueError(f"n_tex: expected 1..{space.n_total}, the components of {path}, got {n_tex}")
        if image_size < 1 or space.side % image_size:
            raise ValueError(f"image_size: expected a divisor of {space.side}, the side of {path}, got {image_size}")
        self.n_tex, self.image_size = n_tex, image_size
        step = space.side // image_size
        rows = np.arange(3 * space.side**2).reshape(space.side, space.side, 3)
        # The files are BGR, height and width first; -1 reverses the channels.
        picked = rows[::step, ::step, ::-1].transpose(2, 0, 1).ravel()
        # Cast before the division: a converted file, which is of float32, then gives the same numbers.
        mean = read_array(path, space.mean).reshape(-1)[picked].astype(np.float32).reshape(3, image_size, image_size)
        components = read_columns(path, space.components, picked, n_tex)
        for name, array in (("mean", mean), ("components", components)):
            if not np.isfinite(array).all():
                raise ValueError(f"{path}: expected finite {name}, got NaN or infinity; download it again")
            array /= space.white
            self.register_buffer(name, torch.from_numpy(array), persistent=False)

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


class TextureSpace(NamedTuple):
    """What kind of texture file one is, by its arrays."""

    kind: Literal["flame", "bfm"]
    """FLAME's own, or made of the Basel Face Model."""
    mean: str
    """Name of the mean's array, of shape (side, side, 3) or flat; blue comes first."""
    components: str
    """Name of the components' array; the last axis counts them."""
    white: float
    """Which value stands for white."""
    side: int
    """Height and width in pixels."""
    n_total: int
    """How many components there are."""


_KINDS: tuple[tuple[Literal["flame", "bfm"], str, str, float], ...] = (
    ("flame", "mean", "tex_dir", 255.0),
    ("bfm", "MU", "PC", 1.0),
)


def texture_space(path: Path) -> TextureSpace:
    """Tell FLAME's texture space from the one made of the Basel Face Model; only the file's headers are read.

    Raises:
        ValueError: when the file is damaged, or holds arrays of other names or shapes.
    """
    shapes = array_shapes(path)
    for kind, mean, components, white in _KINDS:
        if mean in shapes and components in shapes:
            numbers, n_total = math.prod(shapes[mean]), (shapes[components] or (0,))[-1]
            side = round((numbers / 3) ** 0.5)
            if numbers != 3 * side**2 or not numbers or math.prod(shapes[components]) != numbers * n_total:
                raise ValueError(
                    f"{path}: expected {mean} of shape (side, side, 3) and {components} of (side, side, 3, n), or both "
                    f"flat, got {shapes[mean]} and {shapes[components]}"
                )
            return TextureSpace(kind, mean, components, white, side, n_total)
    raise ValueError(
        f"{path}: no texture space: expected the arrays mean, tex_dir (FLAME_texture.npz) or MU, PC "
        f"(FLAME_albedo_from_BFM.npz), got {sorted(shapes)}"
    )
