"""Video clips, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import torch
from jaxtyping import Float
from torch import Tensor


def read_frames(path: str | Path, every: int = 1) -> Iterator[Float[Tensor, "3 height width"]]:
    """Read the frames of a clip one after the other, upright as its rotation tag says; only one is in memory.

    A clip that breaks off gives the frames before the break.

    Args:
        path: whatever OpenCV's FFmpeg reads: MP4, AVI, WebM, ...
        every: give each n-th frame only, from the first.

    Yields:
        RGB in [0, 1].

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no clip or has no frame that can be read, or `every` is not positive.
    """
    if every < 1:
        raise ValueError(f"every: expected 1 or more, got {every}")
    clip = _open(path)
    number = 0
    try:
        while clip.grab():
            if number % every == 0:
                whole, pixels = clip.retrieve()
                if not whole:
                    break
                yield torch.from_numpy(pixels[:, :, ::-1].copy()).permute(2, 0, 1).float() / 255
            number += 1
    finally:
        clip.release()
    if not number:
        raise ValueError(f"{path}: expected a video clip, got no frame that can be read")


def frame_rate(path: str | Path) -> float:
    """Frames per second that a clip claims.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no clip.
    """
    clip = _open(path)
    rate = float(clip.get(cv2.CAP_PROP_FPS))
    clip.release()
    return rate


def _open(path: str | Path) -> cv2.VideoCapture:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected a video clip, but there is no such file")
    clip = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not clip.isOpened():
        raise ValueError(f"{path}: expected a video clip, got a file that FFmpeg cannot read")
    return clip
