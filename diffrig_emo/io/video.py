"""Video clips, frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffrig_emo.io.atomic import atomic_path

CLIP_FORMATS = (".mp4", ".gif")
"""Suffixes that `write_frames` knows."""


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


def write_frames(
    path: str | Path,
    frames: Iterable[Float[Tensor, "3 height width"]],
    rate: float = 24,
    title: str = "",
    comment: str = "",
) -> None:
    """Write a clip: H.264 in MP4, which every browser plays, or an animated GIF that starts again at its end.

    Args:
        path: `NAME.mp4` or `NAME.gif`; missing folders are made. The file appears when it is complete.
        frames: RGB in [0, 1] (clamped), all of one size; taken one by one.
        rate: frames per second. A GIF counts in hundredths of a second.
        title: what an MP4 says that it is called; a GIF has no place for it.
        comment: what the clip says about itself.

    Raises:
        ValueError: when the suffix is unknown, the rate is not positive, there is no frame, a frame has another shape
            than the first, or an MP4 would have an odd side, which its colour format does not allow.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_frames(f"{folder}/a.mp4", [torch.full((3, 16, 32), i / 4) for i in range(5)])
        ...     print(len(list(read_frames(f"{folder}/a.mp4"))), frame_rate(f"{folder}/a.mp4"))
        5 24.0
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in CLIP_FORMATS:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(CLIP_FORMATS)}, got {path.suffix!r}")
    if not rate > 0:
        raise ValueError(f"rate: expected a positive number of frames per second, got {rate}")
    pictures = _bytes(path, frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError(f"frames for {path}: expected at least one, got none")
    height, width = first.shape[:2]
    if suffix == ".mp4" and (height % 2 or width % 2):
        raise ValueError(f"frames for {path}: expected an even height and width, got {height} x {width}")
    with atomic_path(path) as temporary:
        if suffix == ".mp4":
            tags = {name: text for name, text in {"title": title, "comment": comment}.items() if text}
            _write_mp4(temporary, chain([first], pictures), (height, width), rate, tags)
        else:
            _write_gif(temporary, chain([first], pictures), rate, comment)


def _write_mp4(
    path: Path, pictures: Iterable[NDArray[np.uint8]], size: tuple[int, int], rate: float, tags: dict[str, str]
) -> None:
    import av  # here, because it brings an FFmpeg of its own, which those who only read with OpenCV's do not need

    with av.open(str(path), "w") as container:
        container.metadata.update(tags)
        stream = container.add_stream("h264", rate=Fraction(rate).limit_denominator(1001), options={"crf": "18"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _write_gif(path: Path, pictures: Iterable[NDArray[np.uint8]], rate: float, comment: str) -> None:
    first, *others = (Image.fromarray(picture) for picture in pictures)
    said = comment.encode() if comment else None
    first.save(path, save_all=True, append_images=others, duration=round(1000 / rate), loop=0, comment=said)


def _bytes(path: Path, frames: Iterable[Tensor]) -> Iterator[NDArray[np.uint8]]:
    shape = None
    for number, frame in enumerate(frames):
        if frame.ndim != 3 or frame.shape[0] != 3 or (shape is not None and frame.shape != shape):
            wanted = "(3, height, width)" if shape is None else f"{tuple(shape)} like the first"
            raise ValueError(f"frames for {path}: expected {wanted}, got {tuple(frame.shape)} as number {number}")
        shape = frame.shape
        levels = (frame.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
        yield levels.permute(1, 2, 0).contiguous().numpy()


def _open(path: str | Path) -> cv2.VideoCapture:
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected a video clip, but there is no such file")
    clip = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not clip.isOpened():
        raise ValueError(f"{path}: expected a video clip, got a file that FFmpeg cannot read")
    return clip
