"""From a photograph's file to the pictures that the networks see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.datasets.cutting import cut_aligned, move_points, window_tform
from diffrig_emo.datasets.detectors.base import DetectedFaces, FaceDetector, FacePolicy
from diffrig_emo.datasets.detectors.sidecar import read_landmarks
from diffrig_emo.datasets.detectors.stored import zoom_points
from diffrig_emo.io.images import read_image, read_zoom
from diffrig_emo.structures import FaceCrop
from diffrig_emo.transforms.alignment import ffhq_tform, is_ffhq_aligned
from diffrig_emo.transforms.crop import crop_face, crop_tform, landmark_box

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
"""Suffixes that count as photographs in a folder."""

Align: TypeAlias = Literal["auto", "ffhq", "window", "tight"]
"""How the aligned picture is cut; see `crop_faces`."""

_TIGHT, _RISE = 1.85, 0.15
"""Side of FFHQ's square relative to that of a detector's box, and how far its centre lies above the box's, relative to
its own side: medians of `CascadeDetector` on synthetic faces, whose squares are known."""


class NoFaceError(ValueError):
    """No face was found in a photograph."""


def list_photos(path: str | Path) -> list[Path]:
    """The photograph itself, or all photographs of a folder, sorted by name.

    Raises:
        FileNotFoundError: when there is nothing there, or no photograph in the folder.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"{path}: expected a photograph or a folder of photographs, but it does not exist")
    photos = sorted(p for p in path.iterdir() if p.suffix.lower() in PICTURES and p.is_file())
    if not photos:
        raise FileNotFoundError(f"{path}: expected photographs ({', '.join(PICTURES)}) in this folder, got none")
    return photos


def crop_photo(
    path: str | Path,
    size: int,
    detector: FaceDetector,
    crop_size: int = 224,
    *,
    face_policy: Literal["largest", "center"] | int = "largest",
    align: Align = "auto",
) -> FaceCrop:
    """Find one face of a photo, and take the two pictures of it that the networks see.

    Everything is as for `crop_photos`, except that `face_policy` chooses one face.
    """
    return crop_photos(path, size, detector, crop_size, face_policy=face_policy, align=align)


def crop_photos(
    path: str | Path,
    size: int,
    detector: FaceDetector,
    crop_size: int = 224,
    *,
    face_policy: FacePolicy = "all",
    align: Align = "auto",
) -> FaceCrop:
    """Find the faces of a photo, and take the two pictures of each that the networks see.

    Landmarks in a file beside the photo (see `read_landmarks`) come before the detector. What `align` makes of a face:
    see `crop_faces`.

    Args:
        path: the photograph.
        size: side of the aligned pictures in pixels, that of the diffusion model.
        detector: finds the faces.
        crop_size: side of the encoder's crops in pixels.
        face_policy: which faces; see `DetectedFaces.choose`.
        align: how the aligned pictures are cut.

    Returns:
        What `crop_faces` gives, in the policy's order.

    Raises:
        FileNotFoundError: when there is no such file.
        NoFaceError: when no face is found.
        ValueError: when the file is no complete picture, its landmarks are damaged, or it lacks the face asked for.
    """
    photo = read_image(path)
    zoom = read_zoom(path)
    stored = read_landmarks(path)
    if stored is None:
        faces = detector.in_file(path, photo, zoom)
    else:
        faces = DetectedFaces.from_landmarks(zoom_points(stored, zoom)[None])
    if not len(faces):
        raise NoFaceError(
            f"{path}: no face was found. Turn the photo upright, crop it closer, or put its 68 landmarks beside it as "
            f"{Path(path).with_suffix('.txt').name} (68 lines 'x y')"
        )
    try:
        chosen = faces.choose(face_policy, (photo.shape[1], photo.shape[2]))
        return crop_faces(photo, faces, chosen, size, crop_size, align)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def crop_faces(
    photo: Float[Tensor, "3 height width"],
    faces: DetectedFaces,
    chosen: Sequence[int],
    size: int,
    crop_size: int = 224,
    align: Align = "auto",
) -> FaceCrop:
    """Take the two pictures of each chosen face.

    The aligned picture is cut by FFHQ's alignment ("ffhq", see `align_ffhq`), or it is the largest square window with
    the face in its middle, resized as DiffusionRig does ("window", see `align_window`): of a square photo, all of it.
    "auto" aligns where landmarks are known, unless the photo is a square that was aligned before: one whose corners
    are those of the square that the landmarks ask for, within a tenth of its side (`is_ffhq_aligned`). "tight" aligns
    too where landmarks are known; of a mere box it takes the upright square about where FFHQ's would lie, which may
    leave the photo: for small faces of large photos. The encoder's crop is taken from the aligned picture by DECA's
    rule.

    Args:
        photo: RGB in [0, 1].
        faces: the faces that are known of it.
        chosen: numbers of those wanted, at least one.
        size: side of the aligned pictures in pixels.
        crop_size: side of the encoder's crops in pixels.
        align: how the aligned pictures are cut.

    Returns:
        A `FaceCrop` of the chosen faces, with `aligned`, `landmarks` (NaN when only boxes are known),
        `photo_to_aligned`, `tform` and `photo`. Its `quality`: "score" is the detector's; "visible" is how much of the
        face's box lies in the photo, 0 to 1; "landmarks" is whether they are known. Where they are not,
        `conditioning.landmarks_from_codes` gives the model's.

    Raises:
        ValueError: when "ffhq" is asked for without landmarks, or a box or landmarks are no face.
    """
    if align not in ("auto", "ffhq", "window", "tight"):
        raise ValueError(f"align: expected 'auto', 'ffhq', 'window' or 'tight', got {align!r}")
    if not chosen:
        raise ValueError("chosen: expected at least one face, got none")
    if faces.landmarks is None and align == "ffhq":
        raise ValueError("align: 'ffhq' needs landmarks, and the detector gives boxes only; use 'auto' or 'window'")
    height, width = photo.shape[1:]
    maps, pictures, boxes, landmarks = [], [], [], []
    for number in chosen:
        box = faces.boxes[number]
        points = None if faces.landmarks is None else faces.landmarks[number]
        if points is not None and (
            align in ("ffhq", "tight") or (align == "auto" and not is_ffhq_aligned(points, (height, width)))
        ):
            tform = ffhq_tform(points, (height, width), size)
        elif align == "tight":
            tform = _tight_window(box, size)
        else:
            tform = _window_around(box, (height, width), size)
        corners = box.reshape(2, 2) if points is None else points
        boxes.append(landmark_box(move_points(tform, corners)[None]))
        landmarks.append(torch.full((68, 2), torch.nan) if points is None else move_points(tform, points))
        maps.append(tform)
        pictures.append(cut_aligned(photo, tform, size))
    aligned_pictures, known = torch.stack(pictures), torch.cat(boxes)
    tform = crop_tform(known, faces.kind, crop_size)
    return FaceCrop(
        image=crop_face(aligned_pictures, tform, crop_size),
        aligned=aligned_pictures,
        landmarks=torch.stack(landmarks),
        photo_to_aligned=torch.stack(maps),
        tform=tform,
        quality={
            "score": faces.scores[list(chosen)],
            "visible": _visible(faces.boxes[list(chosen)], width, height),
            "landmarks": torch.full((len(chosen),), faces.landmarks is not None),
        },
        photo=(photo,) * len(chosen),
    )


def _visible(boxes: Float[Tensor, "n_faces 4"], width: int, height: int) -> Float[Tensor, " n_faces"]:
    """Share of each box that lies in the photo."""
    low, high = boxes[:, :2], boxes[:, 2:]
    limit = boxes.new_tensor([width - 1, height - 1])
    inside = (torch.minimum(high, limit) - low.clamp(min=0)).clamp(min=0)
    return inside.prod(dim=1) / (high - low).prod(dim=1).clamp(min=1e-6)


def align_window(
    photo: Float[Tensor, "3 height width"], box: Float[Tensor, " 4"], size: int
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3 size size"]]:
    """Cut the largest square window with the box in its middle, as far as the photo's border allows, and resize it.

    Args:
        photo: RGB in [0, 1].
        box: left, top, right, bottom of the face, pixels.
        size: side of the result in pixels.

    Returns:
        Similarity from pixels of the photo to pixels of the result, and the result, RGB in [0, 1].

    Example:
        >>> photo = torch.linspace(0, 1, 8).expand(3, 4, 8)
        >>> tform, picture = align_window(photo, torch.tensor([4.0, 1.0, 6.0, 3.0]), 4)
        >>> tform[:, 2].tolist(), bool((picture[0, 0] == photo[0, 0, 3:7]).all())
        ([-3.0, 0.0, 1.0], True)
    """
    tform = _window_around(box, (photo.shape[1], photo.shape[2]), size)
    return tform, cut_aligned(photo, tform, size)


def _tight_window(box: Float[Tensor, " 4"], size: int) -> Float[Tensor, "3 3"]:
    """Whole pixels, so that where it lies inside the photo it is cut as other windows are."""
    side = max(1, round(_TIGHT * float((box[2:] - box[:2]).mean())))
    centre = (box[:2] + box[2:]) / 2 - _RISE * side * box.new_tensor([0, 1])
    left, top = (round(float(c) - (side - 1) / 2) for c in centre)
    return window_tform(left, top, side, size)


def _window_around(box: Float[Tensor, " 4"], photo_size: tuple[int, int], size: int) -> Float[Tensor, "3 3"]:
    height, width = photo_size
    side = min(height, width)
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    left, top = (
        min(max(int(c - (side - 1) / 2), 0), extent - side) for c, extent in zip(centre, (width, height), strict=True)
    )
    return window_tform(left, top, side, size)
