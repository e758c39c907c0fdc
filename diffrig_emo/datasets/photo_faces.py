"""The faces of a folder of photographs, found and cut out as they are loaded."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.functional import resize

from diffrig_emo.datasets.detectors.base import FaceDetector, FacePolicy
from diffrig_emo.datasets.photos import PICTURES, align_window, crop_photos
from diffrig_emo.datasets.pictures import encode_jpeg
from diffrig_emo.io.images import read_image
from diffrig_emo.structures import FaceBatch, FaceCrop


class PhotoBatch(FaceBatch, total=False):
    """Faces cut out of photographs, and the photographs that none could be cut out of."""

    key: list[str]
    """What tells a face from all others: its photo's path below the folder, with `#1`, `#2`, ... for further faces.
    Shorter than the crop when there is no face at all, for which a blank crop stands in."""
    notes: list[dict[str, str]]
    """What else to keep with a face: `crc32`, the checksum of its photo's file, tells photos of one name apart."""
    jpeg: list[NDArray[np.uint8]]
    """Aligned pictures for the store, empty where none are wanted: arrays, because Lightning, which looks for tensors
    in every batch, would look at every single byte of `bytes`."""
    skipped: list[tuple[str, str]]
    """Key and reason."""


def find_photos(folder: str | Path) -> list[str]:
    """Paths of all photographs below a folder, relative to it, with forward slashes, sorted.

    Raises:
        FileNotFoundError: when there is no such folder, or no photograph in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of photographs, but there is none")
    found = [
        (Path(parent) / name).relative_to(folder).as_posix()
        for parent, _, names in os.walk(folder, followlinks=True)
        for name in names
        if name.lower().endswith(PICTURES)
    ]
    if not found:
        raise FileNotFoundError(f"{folder}: expected photographs ({', '.join(PICTURES)}) in or below it, got none")
    return sorted(found)


class PhotoFaces(Dataset[PhotoBatch]):
    """Photographs of a folder, each as a batch of the faces that were found in it; collate them by `join_photos`.

    No photograph raises: what cannot be used comes back under `skipped`, with the reason.

    Args:
        folder: the folder.
        photos: paths below it.
        detector: finds the faces. None: the whole photo is a face, as for encoders trained on aligned pictures.
        image_size: side of the aligned picture in pixels.
        crop_size: side of the encoder's crop in pixels.
        face_policy: which faces of a photo; see `DetectedFaces.choose`.
        with_jpeg: also give the aligned picture, as JPEG.
        prefix: folder to put before the keys; see `photo_key`.
    """

    def __init__(
        self,
        folder: str | Path,
        photos: Sequence[str],
        detector: FaceDetector | None,
        image_size: int = 256,
        crop_size: int = 224,
        face_policy: FacePolicy = "largest",
        with_jpeg: bool = False,
        prefix: str = "",
    ) -> None:
        self.folder = Path(folder)
        self.photos = photos
        self.detector = detector
        self.image_size = image_size
        self.crop_size = crop_size
        self.face_policy = face_policy
        self.with_jpeg = with_jpeg
        self.prefix = prefix

    def __len__(self) -> int:
        """Number of photographs."""
        return len(self.photos)

    def __getitem__(self, index: int) -> PhotoBatch:
        """The faces of one photograph."""
        key = photo_key(self.photos[index], self.prefix)
        try:
            return self._faces(key, self.folder / self.photos[index])
        except Exception as error:  # decoders and detectors of others raise whatever they stumble over
            known = isinstance(error, ValueError | OSError)
            reason = str(error) if known and str(error) else f"{type(error).__name__}: {error}"
            return PhotoBatch(skipped=[(key, " ".join(reason.split()))])

    def _faces(self, key: str, path: Path) -> PhotoBatch:
        if self.detector is None:
            crop = whole_crop(read_image(path), self.image_size, self.crop_size)
        else:
            crop = crop_photos(path, self.image_size, self.detector, self.crop_size, face_policy=self.face_policy)
        assert crop.aligned is not None  # they always take it
        count = crop.batch_size
        # The photo's own key comes last: where a store has it, no face of the photo is missing.
        order = list(range(count - 1, -1, -1))
        jpeg = [_to_jpeg(crop.aligned[i]) if self.with_jpeg else b"" for i in order]
        return PhotoBatch(
            crop=crop.replace(photo=None, aligned=None)[order],
            key=[f"{key}#{i}" if i else key for i in order],
            path=[key] * count,
            notes=[{"crc32": file_checksum(path)}] * count,
            jpeg=[np.frombuffer(data, np.uint8) for data in jpeg],
            skipped=[],
        )


def join_photos(photos: Sequence[PhotoBatch], crop_size: int = 224) -> PhotoBatch:
    """Join the faces of several photographs to one batch.

    Args:
        photos: at least one item of `PhotoFaces`.
        crop_size: side of the blank crop that stands in when no photograph has a face.
    """
    crops = [photo["crop"] for photo in photos if "crop" in photo]
    return PhotoBatch(
        crop=FaceCrop.cat(crops) if crops else FaceCrop(image=torch.zeros(1, 3, crop_size, crop_size)),
        key=[key for photo in photos for key in photo.get("key", ())],
        path=[path for photo in photos for path in photo.get("path", ())],
        notes=[note for photo in photos for note in photo.get("notes", ())],
        jpeg=[jpeg for photo in photos for jpeg in photo.get("jpeg", ())],
        skipped=[skipped for photo in photos for skipped in photo["skipped"]],
    )


def whole_crop(photo: Float[Tensor, "3 height width"], image_size: int, crop_size: int) -> FaceCrop:
    """Take the largest square in the middle of a photo as the aligned picture, and all of that as the crop."""
    box = torch.tensor([0.0, 0.0, photo.shape[2] - 1, photo.shape[1] - 1])
    photo_to_aligned, aligned = align_window(photo, box, image_size)
    crop = resize(aligned[None], [crop_size, crop_size], antialias=True)
    return FaceCrop(image=crop, aligned=aligned[None], photo_to_aligned=photo_to_aligned[None])


def photo_key(path: str, prefix: str = "") -> str:
    """A photo's path as text that can be written anywhere; only names that are no Unicode change.

    Args:
        path: the path below its folder.
        prefix: what to call the folder, where photos of several folders are kept in one store.

    Example:
        >>> photo_key("anna/1.jpg"), photo_key("anna/1.jpg", "2024")
        ('anna/1.jpg', '2024/anna/1.jpg')
    """
    name = f"{prefix}/{path}" if prefix else path
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def file_checksum(path: str | Path) -> str:
    """CRC-32 of a file: eight hexadecimal digits.

    Raises:
        OSError: when it cannot be read.
    """
    return f"{zlib.crc32(Path(path).read_bytes()):08x}"


def _to_jpeg(image: Tensor) -> bytes:
    return encode_jpeg((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy())
