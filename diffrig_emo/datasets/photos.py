"""From a photograph's file to the pictures that the networks see."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.datasets.detectors.base import DetectedFaces, FaceDetector
from diffrig_emo.datasets.detectors.sidecar import read_landmarks
from diffrig_emo.io.images import read_image
from diffrig_emo.structures import FaceCrop
from diffrig_emo.transforms.crop import crop_face, crop_tform
from diffrig_emo.transforms.resizing import resize_picture

PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
"""Suffixes that count as photographs in a folder."""


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


def crop_photo(path: str | Path, size: int, detector: FaceDetector, crop_size: int = 224) -> FaceCrop:
    """Find the largest face of a photo, and take the two pictures of it that the networks see.

    The aligned picture is the photo itself when it is square, as FFHQ's are, else the largest square window around
    the face; it is resized as DiffusionRig does (smoothed, then bilinear). The encoder's crop is taken from it by
    DECA's rule. Landmarks in a file beside the photo (see `read_landmarks`) come before the detector.

    Args:
        path: the photograph.
        size: side of the aligned picture in pixels, that of the diffusion model.
        detector: finds the face.
        crop_size: side of the encoder's crop in pixels.

    Returns:
        A `FaceCrop` of one face, with `aligned`, `photo_to_aligned` and `tform`; `quality["score"]` is the detector's.

    Raises:
        FileNotFoundError: when there is no such file.
        NoFaceError: when no face is found.
        ValueError: when the file is no complete picture, or its landmarks are damaged.
    """
    photo = read_image(path)
    stored = read_landmarks(path)
    faces = detector(photo) if stored is None else DetectedFaces.from_landmarks(stored[None])
    if not len(faces):
        raise NoFaceError(
            f"{path}: no face was found. Turn the photo upright, crop it closer, or put its 68 landmarks beside it as "
            f"{Path(path).with_suffix('.txt').name} (68 lines 'x y')"
        )
    number = faces.largest()
    box = faces.boxes[number]
    photo_to_aligned, aligned = align_window(photo, box, size)
    moved = box.reshape(2, 2) * photo_to_aligned[0, 0] + photo_to_aligned[:2, 2]
    tform = crop_tform(moved.reshape(1, 4), faces.kind, crop_size)
    return FaceCrop(
        image=crop_face(aligned[None], tform, crop_size),
        aligned=aligned[None],
        photo_to_aligned=photo_to_aligned[None],
        tform=tform,
        quality={"score": faces.scores[number : number + 1]},
        photo=(photo,),
    )


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
    height, width = photo.shape[1:]
    side = min(height, width)
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    left, top = (
        min(max(int(c - (side - 1) / 2), 0), extent - side) for c, extent in zip(centre, (width, height), strict=True)
    )
    window = photo[:, top : top + side, left : left + side]
    window = resize_picture(window, (size, size))
    zoom = size / side
    # Pixel centres: both corners of the outermost pixels coincide, so half a pixel goes each way.
    tform = torch.tensor(
        [[zoom, 0, 0.5 * zoom - 0.5 - zoom * left], [0, zoom, 0.5 * zoom - 0.5 - zoom * top], [0, 0, 1]]
    )
    return tform, window.contiguous()
