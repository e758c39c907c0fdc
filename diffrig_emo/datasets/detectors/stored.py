"""Faces that are known before anybody looks: from a data set's own records."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from diffrig_emo.datasets.detectors.base import DetectedFaces, FaceDetector


class StoredFaces(FaceDetector):
    """Landmarks or boxes by photo, such as those of FFHQ's JSON records or AffectNet's rows: one face a photo.

    Args:
        landmarks: the 68 points by path of the photo, pixels of its file, integers at pixel centres.
        boxes: left, top, right, bottom of the face by path; used where a photo has no landmarks.
        root: folder that paths are relative to; None is the working directory.
        otherwise: looks at photos that have neither. None: they have no face.

    Example:
        >>> known = StoredFaces(boxes={"anna.png": [10, 20, 90, 110]}, root="photos")
        >>> known.in_file("photos/anna.png", torch.zeros(3, 128, 128)).boxes.tolist()
        [[10.0, 20.0, 90.0, 110.0]]
        >>> len(known.in_file("photos/ben.png", torch.zeros(3, 128, 128)))
        0
    """

    def __init__(
        self,
        landmarks: Mapping[str, ArrayLike] | None = None,
        boxes: Mapping[str, ArrayLike] | None = None,
        root: str | Path | None = None,
        otherwise: FaceDetector | None = None,
    ) -> None:
        self.root = Path.cwd() if root is None else Path(root)
        self.otherwise = otherwise
        self._landmarks = {} if landmarks is None else landmarks
        self._boxes = {} if boxes is None else boxes

    def __call__(self, photo: Float[Tensor, "3 height width"]) -> DetectedFaces:
        """Faces of a photo that comes from no file: only `otherwise` can tell."""
        if self.otherwise is None:
            return DetectedFaces(torch.zeros(0, 4), torch.zeros(0), "bbox")
        return self.otherwise(photo)

    def in_file(self, path: str | Path, photo: Float[Tensor, "3 height width"], zoom: float = 1.0) -> DetectedFaces:
        """The face that is known of this photo, else what `otherwise` finds.

        Raises:
            ValueError: when the record is no 68 points or no box, naming the photo.
        """
        name = Path(os.path.relpath(path, self.root)).as_posix()
        if name in self._landmarks:
            points = _numbers(self._landmarks[name], (68, 2), f"{path}: stored landmarks")
            return DetectedFaces.from_landmarks(zoom_points(points, zoom)[None])
        if name in self._boxes:
            box = _numbers(self._boxes[name], (4,), f"{path}: stored box")
            if not (box[2] > box[0] and box[3] > box[1]):
                raise ValueError(f"{path}: stored box: expected left < right and top < bottom, got {box.tolist()}")
            return DetectedFaces(zoom_points(box.reshape(2, 2), zoom).reshape(1, 4), torch.ones(1), "bbox")
        return self(photo)


def zoom_points(points: Float[Tensor, "*batch 2"], zoom: float) -> Float[Tensor, "*batch 2"]:
    """Points of a file, in pixels of the picture that `read_image` made of it; see `io.images.read_zoom`."""
    return (points + 0.5) * zoom - 0.5


def _numbers(value: ArrayLike, shape: tuple[int, ...], name: str) -> Tensor:
    try:
        numbers = torch.as_tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name}: expected numbers of shape {shape}, got something else ({error})") from error
    if numbers.shape != shape or not torch.isfinite(numbers).all():
        raise ValueError(f"{name}: expected finite numbers of shape {shape}, got shape {tuple(numbers.shape)}")
    return numbers
