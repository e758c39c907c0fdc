"""The faces that systems are compared on, and what is known of them."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diffrig_emo.conditioning import BufferConditioner
from diffrig_emo.datasets.cutting import move_points
from diffrig_emo.datasets.detectors import DetectedFaces, FaceDetector
from diffrig_emo.datasets.detectors.sidecar import read_landmarks
from diffrig_emo.datasets.detectors.stored import zoom_points
from diffrig_emo.datasets.photos import Align, NoFaceError, crop_faces
from diffrig_emo.io.images import read_image, read_zoom
from diffrig_emo.metrics.functional.image import edit_regions
from diffrig_emo.morphable import SyntheticHead, SyntheticTexture
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.structures import FaceCodes, FaceCrop
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.transforms.crop import crop_tform, landmark_box
from diffrig_emo.transforms.edits import transfer_expression
from diffrig_emo.transforms.resizing import resize_picture

HELD_OUT = 3
"""Seed of `SyntheticFaces`: people whom no shipped model has seen."""
_SURROUNDINGS = 1.8
"""How much larger than the hull of the 68 landmarks is what an edit may change: forehead, ears, the moving chin."""


@dataclasses.dataclass(frozen=True)
class ComparedFace:
    """One photograph, and where the face is in it."""

    name: str
    """Unique among those compared."""
    path: Path | None
    """The file; None: a synthetic photograph."""
    picture: Float[Tensor, "3 height width"] | None
    """The synthetic photograph, RGB in [0, 1]."""
    found: DetectedFaces
    """The one face, pixels of the photograph."""
    align: Align
    """How it is cut out, for all systems alike."""
    number: int
    """Among those that were looked at."""
    digest: str
    """Of pixels and place, to know it again."""
    detect_seconds: float | None = None
    """What finding it took; None where it was not searched for."""

    def crop(self, size: int, crop_size: int = 224) -> FaceCrop:
        """The aligned picture of a size, and an encoder's crop of another.

        Args:
            size: side of the aligned picture in pixels.
            crop_size: side of the crop in pixels.
        """
        if self.picture is not None:
            photo = self.picture
        else:
            assert self.path is not None  # one of the two is there
            photo = read_image(self.path)
        return crop_faces(photo, self.found, [0], size, crop_size, self.align)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a face is in an aligned picture."""

    box: Float[Tensor, "1 4"]
    """Pixels: left, top, right, bottom."""
    kind: Literal["kpt68", "bbox"]
    """What the box encloses; see `transforms.crop.crop_tform`."""

    def tform(self, crop_size: int) -> Float[Tensor, "1 3 3"]:
        """From pixels of the picture to those of an encoder's crop."""
        return crop_tform(self.box, self.kind, crop_size)


@dataclasses.dataclass(frozen=True)
class Reference:
    """What a system's pictures of one face are compared with, at the size common to all systems."""

    photo: Float[Tensor, "1 3 size size"]
    """RGB in [0, 1]."""
    goal: Float[Tensor, "1 3 size size"]
    """The photograph that the expression comes from."""
    landmarks: Float[Tensor, "1 68 2"] | None
    """Pixels; None where they are not known."""
    place: Place
    """Of the face."""
    goal_place: Place
    """Of the face in `goal`."""
    face: Bool[Tensor, "1 1 size size"] | None
    """Hull of the landmarks."""
    may_change: Bool[Tensor, "1 1 size size"] | None
    """What an edit may change."""
    true_edit: Float[Tensor, "1 3 size size"] | None = None
    """The photograph as it should become, where that is known, without noise."""
    changed: Bool[Tensor, "1 1 size size"] | None = None
    """What the true edit changes."""
    label: int = -1
    """Emotion of the photograph that the expression comes from, AffectNet 0..7; -1 where nobody has said."""

    def to(self, device: torch.device) -> Reference:
        """The same on a device."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        tensors: dict[str, Any] = {name: v.to(device) for name, v in values.items() if isinstance(v, Tensor)}
        return dataclasses.replace(self, **tensors)


def find_faces(
    photos: Sequence[Path], detector: FaceDetector | None, most: int | None = None
) -> tuple[list[ComparedFace], dict[str, str]]:
    """Look for the largest face of every photograph.

    Args:
        photos: the files.
        detector: finds faces; landmarks in a file beside a photo come first. None: each photograph is its face, whole.
        most: how many photographs to take at most.

    Returns:
        The faces, and by file why others cannot be used.
    """
    faces: list[ComparedFace] = []
    skipped: dict[str, str] = {}
    stems = [path.stem for path in photos]
    for number, path in enumerate(photos[:most]):
        name = path.stem if stems.count(path.stem) == 1 else path.name.replace(".", "_")
        try:
            photo = read_image(path)
            start = time.perf_counter()
            found = _whole(photo) if detector is None else _largest(path, photo, detector)
            seconds = None if detector is None else time.perf_counter() - start
            face = ComparedFace(
                name,
                path,
                None,
                found,
                "window" if detector is None else "auto",
                number,
                _digest(photo, found),
                seconds,
            )
            face.crop(16)  # damaged landmarks show here
        except (OSError, ValueError) as error:
            skipped[str(path)] = str(error)
            continue
        faces.append(face)
    return faces, skipped


def synthetic_faces(faces: SyntheticFaces) -> list[ComparedFace]:
    """Photographs of people that do not exist, with their true landmarks."""
    compared = []
    for number in range(len(faces)):
        item = faces[number]
        found = DetectedFaces.from_landmarks(item["landmarks"][None])
        picture = item["image"]
        compared.append(
            ComparedFace(f"face_{number:03d}", None, picture, found, "window", number, _digest(picture, found))
        )
    return compared


def references(faces: Sequence[ComparedFace], size: int, synthetic: SyntheticFaces | None) -> list[Reference]:
    """What pictures are compared with; every face takes the expression of the next one, the last that of the first.

    Args:
        faces: those that every system can use.
        size: side in pixels at which systems are compared.
        synthetic: where they come from, if their true edits are known.
    """
    crops = [face.crop(size) for face in faces]
    places = [_place(face, crop) for face, crop in zip(faces, crops, strict=True)]
    found = []
    for i, crop in enumerate(crops):
        following = (i + 1) % len(crops)
        photo, goal, landmarks = crop.aligned, crops[following].aligned, crop.landmarks
        assert photo is not None  # crop_faces always takes them
        assert goal is not None
        assert landmarks is not None
        known = places[i].kind == "kpt68"
        found.append(
            Reference(
                photo=photo,
                goal=goal,
                landmarks=landmarks if known else None,
                place=places[i],
                goal_place=places[following],
                face=hull(landmarks, size) if known else None,
                may_change=hull(landmarks, size, _SURROUNDINGS) if known else None,
            )
        )
    return found if synthetic is None else _with_truth(faces, found, size, synthetic)


def true_codes(faces: Sequence[ComparedFace], synthetic: SyntheticFaces) -> list[FaceCodes]:
    """True codes of synthetic faces."""
    codes = synthetic.codes([face.number for face in faces])
    return [codes[i] for i in range(len(faces))]


def hull(landmarks: Float[Tensor, "1 68 2"], size: int, scale: float = 1.0) -> Bool[Tensor, "1 1 size size"]:
    """Pixels inside the convex hull of landmarks.

    Args:
        landmarks: pixels, integers at pixel centres.
        size: side of the picture in pixels.
        scale: enlarges the hull about the landmarks' mean.

    Example:
        >>> corners = torch.tensor([[[1.0, 1.0], [1.0, 3.0], [3.0, 3.0], [3.0, 1.0]]])
        >>> int(hull(corners, 6).sum())
        9
    """
    middle = landmarks.mean(dim=1, keepdim=True)
    points = ((landmarks - middle) * scale + middle)[0].round().int().numpy()
    canvas = np.zeros((size, size), dtype=np.uint8)
    cv2.fillConvexPoly(canvas, cv2.convexHull(points), 1)
    return torch.from_numpy(canvas).bool()[None, None]


@torch.no_grad()
def _with_truth(
    faces: Sequence[ComparedFace], found: Sequence[Reference], size: int, synthetic: SyntheticFaces
) -> list[Reference]:
    bridge = BufferConditioner(SyntheticHead(), SyntheticTexture(), BufferRenderer(size))
    numbers = [face.number for face in faces]
    truth = synthetic.truth(numbers)
    codes = truth["codes"]
    following = [*range(1, len(faces)), 0]
    result = []
    for i, reference in enumerate(found):
        target = transfer_expression(codes[i], codes[following[i]])
        pictures = [synthetic.photograph([numbers[i]], codes=wanted, clean=True)[0] for wanted in (codes[i], target)]
        before, after = (resize_picture(picture, (size, size)).clamp(0, 1)[None] for picture in pictures)
        union = torch.maximum(bridge.render(codes[i]).mask, bridge.render(target).mask)
        regions = edit_regions(before, after, union)
        result.append(
            dataclasses.replace(
                reference,
                true_edit=after,
                changed=regions["changed"],
                may_change=~regions["rest"],
                label=int(truth["label"][following[i]]),
            )
        )
    return result


def _place(face: ComparedFace, crop: FaceCrop) -> Place:
    assert crop.landmarks is not None  # crop_faces always gives them, or NaN
    assert crop.photo_to_aligned is not None
    if torch.isfinite(crop.landmarks).all():
        return Place(landmark_box(crop.landmarks), "kpt68")
    corners = move_points(crop.photo_to_aligned[0], face.found.boxes[0].reshape(2, 2))
    return Place(corners.reshape(1, 4), "bbox")


def _largest(path: Path, photo: Tensor, detector: FaceDetector) -> DetectedFaces:
    zoom = read_zoom(path)
    stored = read_landmarks(path)
    if stored is not None:
        return DetectedFaces.from_landmarks(zoom_points(stored, zoom)[None])
    faces = detector.in_file(path, photo, zoom)
    if not len(faces):
        raise NoFaceError(
            f"{path}: no face was found. Turn the photo upright, crop it closer, or put its 68 landmarks beside it as "
            f"{path.with_suffix('.txt').name} (68 lines 'x y')"
        )
    (chosen,) = faces.choose("largest", (photo.shape[1], photo.shape[2]))
    return DetectedFaces(
        faces.boxes[[chosen]],
        faces.scores[[chosen]],
        faces.kind,
        None if faces.landmarks is None else faces.landmarks[[chosen]],
    )


def _whole(photo: Tensor) -> DetectedFaces:
    box = torch.tensor([[0.0, 0.0, photo.shape[2] - 1, photo.shape[1] - 1]])
    return DetectedFaces(box, torch.ones(1), "bbox")


def _digest(photo: Tensor, found: DetectedFaces) -> str:
    digest = hashlib.sha256(str(tuple(photo.shape)).encode())
    places = [found.boxes] if found.landmarks is None else [found.boxes, found.landmarks]
    for tensor in ((photo * 255).round().to(torch.uint8), *places):
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
