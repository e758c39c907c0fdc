"""Pictures: files to tensors in [0, 1] and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from diffrig_emo.io.atomic import atomic_path


def read_image(path: str | Path) -> Float[Tensor, "3 height width"]:
    """Read a picture file, upright as its EXIF tag says.

    Grey pictures get three equal channels; transparency is dropped.

    Args:
        path: PNG, JPEG, BMP, WebP, ... of 8 bits per channel.

    Returns:
        RGB in [0, 1], multiples of 1/255.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no picture, is truncated, or has more than 8 bits per channel.
    """
    try:
        with Image.open(path) as image:
            if image.mode[0] in "IF":
                raise ValueError(f"{path}: expected 8 bits per channel, got mode {image.mode!r}; convert it first")
            upright = ImageOps.exif_transpose(image)
            if upright.mode == "P":  # its palette may hold transparency, about which Pillow warns
                upright = upright.convert("RGBA")
            pixels = np.array(upright.convert("RGB"))
    except FileNotFoundError:
        raise
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: expected a complete picture, got {type(error).__name__}: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def write_image(path: str | Path, image: Float[Tensor, "3 height width"]) -> None:
    """Write a picture; the file appears only when it is complete.

    Args:
        path: where to; the suffix chooses the format. Missing folders are made.
        image: RGB in [0, 1]; values outside are clamped, then rounded to 8 bits.

    Raises:
        ValueError: when `image` has another shape, holds NaN, or the suffix is unknown.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_image(folder + "/grey.png", torch.full((3, 2, 2), 0.2))
        ...     print(read_image(folder + "/grey.png")[:, 0, 0] * 255)
        tensor([51., 51., 51.])
    """
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
        raise ValueError(
            f"image for {path}: expected a float tensor of shape (3, height, width), got "
            f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"
        )
    if image.isnan().any():
        raise ValueError(f"image for {path}: expected numbers, got NaN in {int(image.isnan().sum())} values")
    if Path(path).suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{path}: expected a suffix of a picture format such as .png, got {Path(path).suffix!r}")
    bytes_ = (image.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(bytes_.permute(1, 2, 0).contiguous().numpy()).save(temporary)
