"""From a video clip to the pictures that the networks see: one face, followed and smoothed over time."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.signal import savgol_filter
from torch import Tensor

from diffrig_emo.datasets.detectors.base import DetectedFaces, FaceDetector
from diffrig_emo.datasets.photos import Align, NoFaceError, crop_faces
from diffrig_emo.io.video import read_frames
from diffrig_emo.structures import FaceCodes, FaceCrop
from diffrig_emo.transforms.alignment import is_ffhq_aligned
from diffrig_emo.transforms.edits import with_mean_shape

_PATIENCE = 15
"""Frames without the face after which any face counts again: it moved while hidden, or the scene was cut."""


@dataclasses.dataclass(frozen=True)
class FaceTrack:
    """One face through a clip; a row per frame, NaN where it was not found. Pixels, integers at pixel centres."""

    boxes: Float[Tensor, "n_frames 4"]
    """Left, top, right, bottom."""
    scores: Float[Tensor, " n_frames"]
    """How sure the detector is; 0 where the face was not found."""
    kind: Literal["kpt68", "bbox"]
    """What the boxes enclose, as in `DetectedFaces`."""
    landmarks: Float[Tensor, "n_frames 68 2"] | None = None
    """The 68 landmarks, where the detector knows them."""

    @property
    def found(self) -> Bool[Tensor, " n_frames"]:
        """Whether the face is known in each frame."""
        return torch.isfinite(self.boxes).all(dim=1)


def track_face(
    frames: Iterable[Float[Tensor, "3 height width"]],
    detector: FaceDetector,
    face_policy: Literal["largest", "center"] | int = "largest",
) -> FaceTrack:
    """Follow one face: chosen in the first frame that has any, then the one that overlaps its last box most.

    Args:
        frames: RGB in [0, 1]; taken one by one.
        detector: finds the faces of a frame.
        face_policy: which face to follow, where several are there.

    Raises:
        NoFaceError: when no frame has a face.
        ValueError: when the first frame with faces lacks the one asked for.
    """
    seen: list[DetectedFaces | None] = []
    last: Tensor | None = None
    gap = 0
    for frame in frames:
        faces = detector(frame)
        number = None
        if len(faces) and (last is None or gap > _PATIENCE):
            (number,) = faces.choose(face_policy, (frame.shape[1], frame.shape[2]))
        elif len(faces) and last is not None:
            overlap = _overlap(faces.boxes, last)
            number = int(overlap.argmax()) if overlap.max() > 0 else None
        gap = 0 if number is not None else gap + 1
        last = last if number is None else faces.boxes[number]
        seen.append(None if number is None else _one(faces, number))
    known = [faces for faces in seen if faces is not None]
    if not known:
        raise NoFaceError(f"no face was found in {len(seen)} frames")
    blank = _one(known[0], 0, fill=float("nan"))
    rows = [blank if faces is None else faces for faces in seen]
    landmarks = [row.landmarks for row in rows if row.landmarks is not None]
    return FaceTrack(
        boxes=torch.cat([row.boxes for row in rows]),
        scores=torch.cat([row.scores for row in rows]).nan_to_num(nan=0.0),
        kind=known[0].kind,
        landmarks=torch.cat(landmarks) if len(landmarks) == len(rows) else None,
    )


def smooth_track(track: FaceTrack, window: int = 9) -> FaceTrack:
    """Fill the gaps of a track and calm it, so that crops do not tremble.

    Gaps are filled on a line between their ends, and at the clip's ends with the nearest frame; then a Savitzky-Golay
    filter of second order goes over each coordinate: what moves evenly or speeds up evenly is not delayed.

    Args:
        track: a face, found in one frame at least.
        window: frames that the filter looks at, odd; 1 only fills gaps. Cut down to the length of the clip.

    Raises:
        ValueError: when `window` is even or less than 1, or no frame has the face.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window: expected an odd number of frames, got {window}")
    if not track.found.any():
        raise ValueError("track: expected a face in one frame at least, got none")
    boxes = _smooth(track.boxes, track.found, window)
    if track.landmarks is None:
        return dataclasses.replace(track, boxes=boxes)
    landmarks = _smooth(track.landmarks.flatten(1), track.found, window).reshape(-1, 68, 2)
    return dataclasses.replace(track, boxes=boxes, landmarks=landmarks)


def crop_video(
    path: str | Path,
    size: int,
    detector: FaceDetector,
    crop_size: int = 224,
    *,
    every: int = 1,
    window: int = 9,
    face_policy: Literal["largest", "center"] | int = "largest",
    align: Align = "auto",
) -> Iterator[FaceCrop]:
    """Take the two pictures of one face from every frame of a clip, which is read twice: to track, then to crop.

    Args:
        path: the clip.
        size: side of the aligned pictures in pixels.
        detector: finds the faces of a frame.
        crop_size: side of the encoder's crops in pixels.
        every: take each n-th frame only.
        window: frames over which the face's place is smoothed; see `smooth_track`.
        face_policy: which face to follow.
        align: how the aligned pictures are cut, see `crop_faces`; "auto" decides once, by the first frame.

    Yields:
        A `FaceCrop` of one face per frame; where the face was not found its place is guessed and its `score` is 0.

    Raises:
        FileNotFoundError: when there is no such file.
        NoFaceError: when no frame has a face.
        ValueError: when it is no clip, or lacks the face asked for.
    """
    try:
        track = smooth_track(track_face(read_frames(path, every), detector, face_policy), window)
    except NoFaceError as error:
        raise NoFaceError(f"{path}: {error}") from error
    for number, frame in enumerate(read_frames(path, every)):
        points = None if track.landmarks is None else track.landmarks[number : number + 1]
        if align == "auto":
            aligned = points is None or is_ffhq_aligned(points[0], (frame.shape[1], frame.shape[2]))
            align = "window" if aligned else "ffhq"
        box, score = track.boxes[number : number + 1], track.scores[number : number + 1]
        yield crop_faces(frame, DetectedFaces(box, score, track.kind, points), [0], size, crop_size, align)


def share_shape(codes: FaceCodes) -> FaceCodes:
    """Give all frames of one person their mean shape: a skull does not change from frame to frame.

    Example:
        >>> codes = FaceCodes.zeros(2, n_shape=2, n_tex=1, n_exp=1, space="s")
        >>> share_shape(codes.replace(shape=torch.tensor([[1.0, 0.0], [3.0, 0.0]]))).shape.tolist()
        [[2.0, 0.0], [2.0, 0.0]]
    """
    return with_mean_shape(codes, codes.shape.mean(dim=0))


def smooth_codes(codes: FaceCodes, found: Bool[Tensor, " n_frames"], window: int = 9) -> FaceCodes:
    """Calm the codes of one face over time, and fill the frames that it was not found in.

    What belongs to the person, shape and albedo, is the mean over the frames where it was found. Expression, pose,
    camera, light and eyes are smoothed as `smooth_track` smooths places: gaps on a line, then Savitzky-Golay.
    Axis-angles are smoothed as they are: a face in view never turns so far that this matters. Maps (`tform`) stay.

    Args:
        codes: one row per frame.
        found: whether the face was seen there, at least once.
        window: frames that the filter looks at, odd; 1 only fills gaps.

    Raises:
        ValueError: when `window` is even or less than 1, or no frame has the face.

    Example:
        >>> codes = FaceCodes.zeros(3, n_shape=1, n_tex=1, n_exp=1, space="s")
        >>> codes = codes.replace(exp=torch.tensor([[0.0], [9.0], [2.0]]))
        >>> smooth_codes(codes, torch.tensor([True, False, True]), window=1).exp[:, 0].tolist()
        [0.0, 1.0, 2.0]
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window: expected an odd number of frames, got {window}")
    if not found.any():
        raise ValueError("found: expected a face in one frame at least, got none")
    changes: dict[str, Tensor] = {}
    for name in ("exp", "pose", "cam", "light", "eye_pose", "detail"):
        value: Tensor | None = getattr(codes, name)
        if value is not None:
            rows = value.detach().cpu().flatten(1)
            changes[name] = _smooth(rows, found.cpu(), window).reshape(value.shape).to(value)
    for name in ("shape", "tex"):
        value = getattr(codes, name)
        changes[name] = value[found].mean(dim=0).expand_as(value)
    return codes.replace(**changes)


def find_cuts(
    frames: Iterable[Float[Tensor, "3 height width"]], threshold: float = 0.1, ratio: float = 5.0, flash: int = 3
) -> list[int]:
    """Find where one scene gives way to another.

    Args:
        frames: RGB in [0, 1]; taken one by one.
        threshold: a cut changes a picture of 16 x 16 pixels by more than this, on average,
        ratio: and by more than so many times the median change of the five frames before and after it.
        flash: so many frames of something else, after which the scene goes on as it was, are no cut.

    Returns:
        Numbers of the frames that begin a new scene, ascending; without 0.

    Example:
        >>> dark, bright = torch.zeros(3, 20, 20), torch.ones(3, 20, 20)
        >>> find_cuts([dark, dark, bright, bright]), find_cuts([dark, dark, bright, dark])
        ([2], [])
    """
    small = [torch.nn.functional.adaptive_avg_pool2d(frame, 16) for frame in frames]
    changes = [0.0, *(float((a - b).abs().mean()) for a, b in itertools.pairwise(small))]
    cuts: list[int] = []
    for number in range(1, len(small)):
        around = [*changes[max(1, number - 5) : number], *changes[number + 1 : number + 6]]
        usual = float(np.median(around)) if around else 0.0
        if changes[number] > threshold and changes[number] > ratio * usual:
            goes_on = bool(cuts) and number - cuts[-1] <= flash
            if goes_on and float((small[number] - small[cuts[-1] - 1]).abs().mean()) <= threshold:
                cuts.pop()
            else:
                cuts.append(number)
    return cuts


def _one(faces: DetectedFaces, number: int, fill: float | None = None) -> DetectedFaces:
    """One of the faces; or a face of the same kind, all of whose numbers are `fill`."""
    picked = [faces.boxes[[number]], faces.scores[[number]]]
    points = None if faces.landmarks is None else faces.landmarks[[number]]
    if fill is not None:
        picked = [torch.full_like(value, fill) for value in picked]
        points = None if points is None else torch.full_like(points, fill)
    return DetectedFaces(picked[0], picked[1], faces.kind, points)


def _overlap(boxes: Float[Tensor, "n_faces 4"], box: Float[Tensor, " 4"]) -> Float[Tensor, " n_faces"]:
    """Intersection over union of each box with one."""
    low, high = torch.maximum(boxes[:, :2], box[:2]), torch.minimum(boxes[:, 2:], box[2:])
    common = (high - low).clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (box[2:] - box[:2]).prod()
    return common / (areas - common).clamp(min=1e-6)


def _smooth(values: Tensor, found: Tensor, window: int) -> Tensor:
    rows = values.double().numpy()
    times, known = np.arange(len(rows)), found.numpy()
    filled = np.stack([np.interp(times, times[known], column) for column in rows[known].T], axis=1)
    width = min(window, len(rows) - 1 + len(rows) % 2)
    if width > 2:
        filled = savgol_filter(filled, width, polyorder=2, axis=0)
    return torch.from_numpy(filled).to(values)
