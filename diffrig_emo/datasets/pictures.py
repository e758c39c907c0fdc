"""Encoded pictures in memory: to pixels, to tensors, to JPEG."""

from __future__ import annotations

import io

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def decode_strictly(data: bytes) -> NDArray[np.uint8]:
    """Pixels (height, width, 3) of a picture that we did not write.

    Raises:
        ValueError: when it is no picture, is truncated, fails its own checksums, or has more than 8 bits per channel.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode[0] in "IF":
                raise ValueError(f"expected 8 bits per channel, got mode {image.mode!r}")
            picture = image.convert("RGBA") if image.mode == "P" else image
            return np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"expected a complete picture, got {type(error).__name__}: {error}") from error


def decode_picture(data: bytes | bytearray) -> Float[Tensor, "3 height width"]:
    """RGB in [0, 1] of a picture that we wrote, fast.

    Raises:
        ValueError: when it is no picture.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if pixels is None:
        raise ValueError(f"expected a picture, got {len(data):,} other bytes")
    return to_tensor(np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8))


def to_tensor(pixels: NDArray[np.uint8]) -> Float[Tensor, "3 height width"]:
    """Pixels (height, width, 3) to RGB in [0, 1], multiples of 1/255."""
    return torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255)


def encode_jpeg(pixels: NDArray[np.uint8], quality: int = 95) -> bytes:
    """JPEG of pixels (height, width, 3), with colours at full resolution: lips and eyes are small.

    Example:
        >>> grey = np.full((8, 8, 3), 128, np.uint8)
        >>> data = encode_jpeg(grey)
        >>> float(decode_picture(data).max() * 255)
        128.0
    """
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """PNG of pixels (height, width, 3): nothing is lost, at about four times the size."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def resize(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Square pixels (size, size, 3) by Lanczos resampling, smoothed when they shrink; unchanged at that size."""
    if pixels.shape[:2] == (size, size):
        return pixels
    return np.array(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))
