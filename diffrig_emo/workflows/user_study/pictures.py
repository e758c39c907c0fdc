"""Pictures of a study, made alike: one size, one format, and nothing but pixels in the file."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffrig_emo.datasets.pictures import encode_jpeg, encode_png
from diffrig_emo.io.images import read_image

_NOISE = 1.0
"""Standard deviation of the noise on a check's wrong picture, whose pixels are in [0, 1]."""


class StudyPictures:
    """Encodes the pictures of a study, each once.

    Files are decoded and encoded again, so that neither metadata nor format tell where a picture comes from.

    Args:
        size: longest side in pixels.
        lossless: PNG instead of JPEG of quality 95 without colour subsampling.
        seed: of the noise on checks.
    """

    def __init__(self, size: int, lossless: bool, seed: int) -> None:
        self.size = size
        self._encode: Callable[[NDArray[np.uint8]], bytes] = encode_png if lossless else encode_jpeg
        self._type = "png" if lossless else "jpeg"
        self._noise = np.random.default_rng(seed)
        self._done: dict[Path, str] = {}

    def uri(self, path: Path) -> str:
        """A picture as a data URI.

        Raises:
            ValueError: when the file is no complete picture.
        """
        if path not in self._done:
            self._done[path] = self._to_uri(self._pixels(path))
        return self._done[path]

    def noisy_uri(self, path: Path) -> str:
        """The same under heavy noise, drawn anew at each call."""
        pixels = self._pixels(path)
        noisy = pixels / 255 + _NOISE * self._noise.standard_normal(pixels.shape)
        return self._to_uri((noisy.clip(0, 1) * 255).round().astype(np.uint8))

    def _pixels(self, path: Path) -> NDArray[np.uint8]:
        whole = (read_image(path).permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        longest = max(whole.shape[:2])
        if longest == self.size:
            return whole
        height, width = (max(1, round(side * self.size / longest)) for side in whole.shape[:2])
        # Resized once here: browsers differ in how they enlarge small pictures.
        return np.asarray(Image.fromarray(whole).resize((width, height), Image.Resampling.LANCZOS))

    def _to_uri(self, pixels: NDArray[np.uint8]) -> str:
        return f"data:image/{self._type};base64,{base64.b64encode(self._encode(pixels)).decode()}"
