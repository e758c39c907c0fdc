"""What the camera does to a clean picture: sensor noise and JPEG."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.synthesis.draws import generator


def expose(image: Float[Tensor, "3 height width"], seed: int, picture: int) -> Float[Tensor, "3 height width"]:
    """Add noise (read noise and shot noise) and compress as JPEG, the strength of both drawn for this picture.

    Args:
        image: clean picture, RGB in [0, 1].
        seed: seed of the data set.
        picture: number of the picture.

    Returns:
        RGB in [0, 1], multiples of 1/255.

    Example:
        >>> noisy = expose(torch.full((3, 16, 16), 0.5), seed=0, picture=3)
        >>> bool(0 < (noisy - 0.5).abs().mean() < 0.1)
        True
    """
    rng = generator(seed, "camera", picture)
    read, shot, quality = rng.uniform(0.001, 0.007), rng.uniform(0.0, 0.014), int(rng.integers(78, 97))
    clean = image.permute(1, 2, 0).numpy()
    deviation = np.sqrt(read**2 + shot**2 * clean)
    noisy = clean + deviation * rng.standard_normal(clean.shape, dtype=np.float32)
    return decode_jpeg(encode_jpeg(torch.from_numpy(noisy).permute(2, 0, 1), quality))


def encode_jpeg(image: Float[Tensor, "3 height width"], quality: int) -> bytes:
    """Compress a picture with RGB in [0, 1] (values outside are clamped)."""
    pixels = (image.permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def decode_jpeg(data: bytes) -> Float[Tensor, "3 height width"]:
    """Decompress a picture to RGB in [0, 1].

    Raises:
        ValueError: when the data is no JPEG file.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"data: expected a JPEG file, got {len(data)} bytes that are none")
    return torch.from_numpy(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)).permute(2, 0, 1).float() / 255
