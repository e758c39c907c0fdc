"""Pictures: files to tensors in [0, 1] and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from diffrig_emo.io.atomic import atomic_path

T = TypeVar("T")

MAX_PIXELS = 2**26
"""Pictures with more pixels than this are read smaller: a tensor has 12 bytes a pixel, so none takes over 0.8 GB."""
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What photographs come as. Of the others that Pillow reads, some (EPS) start programs on a stranger's file."""


class _UnfitError(Exception):
    """A sound file that holds something else than is wanted."""


def read_image(path: str | Path) -> Float[Tensor, "3 height width"]:
    """Read a picture file, upright as its EXIF tag says.

    Grey pictures get three equal channels, 16-bit colour keeps its upper 8 bits, transparency is dropped, and an
    animation counts as its first frame. A picture of more than `MAX_PIXELS` is halved until it has no more; what
    holds pixels of the file, such as landmarks, then needs `read_zoom`.

    Args:
        path: BMP, GIF, JPEG, PNG, PPM, TIFF or WebP, whatever its suffix.

    Returns:
        RGB in [0, 1], multiples of 1/255.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no picture, is truncated or damaged, or is grey of more than 8 bits.
    """
    return torch.from_numpy(_from_picture(path, _decode)).permute(2, 0, 1).float().div_(255)


def read_zoom(path: str | Path) -> float:
    """Size of a picture as `read_image` gives it, relative to that of its file: 1, or 1/2, 1/4, ... of a huge one.

    A point (x, y) of the file, integers at pixel centres, is `(x + 0.5) * zoom - 0.5`, and y alike, of the tensor.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no picture.
    """
    return 1 / _from_picture(path, lambda image: _shrink(image.size))


def _from_picture(path: str | Path, read: Callable[[Image.Image], T]) -> T:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of, huge pictures and odd tags, is dealt with here
            with Image.open(path, formats=_FORMATS) as image:
                return read(image)
    except FileNotFoundError:
        raise
    except _UnfitError as error:
        got = str(error)
    except UnidentifiedImageError:
        got = "an empty file" if not Path(path).stat().st_size else f"something else than {', '.join(_FORMATS)}"
    except Exception as error:  # of a damaged file, Pillow raises whatever it stumbles over
        got = f"{type(error).__name__}: {error}"
    raise ValueError(f"{path}: expected a complete picture, got {got}")


def _decode(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode[0] in "IF":
        raise _UnfitError(f"more than 8 bits per channel (mode {image.mode}); convert it first")
    width, shrink = image.width, _shrink(image.size)
    if shrink > 1:
        image.draft(None, (image.width // shrink, image.height // shrink))  # a JPEG is then decoded at that size
    left = max(1, shrink // round(width / image.width))
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode == "P":  # its palette may hold transparency, which a direct conversion would warn of
        image = image.convert("RGBA")
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    if left > 1:
        image = image.reduce(left)
    return np.array(image.convert("RGB"))


def _shrink(size: tuple[int, int]) -> int:
    shrink = 1
    while size[0] * size[1] > MAX_PIXELS * shrink**2:
        shrink *= 2
    return shrink


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
    picture = to_picture(path, image)
    if Path(path).suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{path}: expected a suffix of a picture format such as .png, got {Path(path).suffix!r}")
    with atomic_path(path) as temporary:
        picture.save(temporary)


def to_picture(path: str | Path, image: Float[Tensor, "3 height width"]) -> Image.Image:
    """The picture that `write_image` writes, of 8 bits a channel.

    Args:
        path: where it shall go, for messages.
        image: RGB in [0, 1]; values outside are clamped.

    Raises:
        ValueError: when `image` has another shape or holds NaN.
    """
    if image.ndim != 3 or image.shape[0] != 3 or not image.is_floating_point():
        raise ValueError(
            f"image for {path}: expected a float tensor of shape (3, height, width), got "
            f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"
        )
    if image.isnan().any():
        raise ValueError(f"image for {path}: expected numbers, got NaN in {int(image.isnan().sum())} values")
    bytes_ = (image.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
    return Image.fromarray(bytes_.permute(1, 2, 0).contiguous().numpy())
