"""FFHQ on disk: its layouts, and its file of records."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffrig_emo.datasets.picture_sources import FolderPictures, LmdbPictures, PictureSource, Texts, ZipPictures

FOLDERS = ("images*x*", "realign*x*", "thumbnails*x*", "in-the-wild-images")
"""Folders of pictures in FFHQ's own layout; the first that exists is taken."""
WILD = "in-the-wild-images"

TEXTS = ("license", "license_url", "author", "photo_url", "photo_title")
"""What the records say about the rights in each photo."""


@dataclasses.dataclass(frozen=True)
class FFHQRecords:
    """The records of `ffhq-dataset-v2.json`, one row per picture."""

    number: NDArray[np.int64]
    """Number of the picture, (n,)."""
    validation: NDArray[np.int64]
    """1 where the category is "validation", 0 where it is "training", -1 unknown, (n,)."""
    aligned: NDArray[np.float32]
    """Landmarks of the aligned picture in shares of its sides (0 and 1 at its borders), NaN unknown, (n, 68, 2)."""
    wild: NDArray[np.float32]
    """Landmarks in pixels of the photo in the wild, NaN unknown, (n, 68, 2)."""
    quad: NDArray[np.float32]
    """Corners of the aligned picture in the photo in the wild, NaN unknown, (n, 4, 2)."""
    texts: dict[str, Texts]
    """Licence, author and address of each photo, empty where unknown."""
    damaged: int
    """Records with landmarks or corners that are no such thing; they count as unknown."""


def open_ffhq(root: Path, folder: str | None) -> tuple[PictureSource, str]:
    """Find FFHQ's pictures: the source, and the name of the layout.

    Raises:
        FileNotFoundError: when there are none.
        ValueError: when a zip file or data base is damaged, or `folder` does not fit.
    """
    if folder is not None:
        if not (root / folder).is_dir():
            raise FileNotFoundError(f"folder: expected a folder of pictures {root / folder}, got none there")
        return FolderPictures(root, folder), folder
    if root.is_file():
        return ZipPictures(root), "zip"
    if (root / "data.mdb").is_file():
        return LmdbPictures(root), "lmdb"
    for pattern in FOLDERS:
        for found in sorted(root.glob(pattern), reverse=True):
            if found.is_dir():
                return FolderPictures(root, found.name), found.name
    if root.is_dir():
        return FolderPictures(root), ""
    raise FileNotFoundError(
        f"{root}: expected FFHQ (a folder of pictures, a StyleGAN zip or DiffAE's LMDB), got nothing"
    )


def find_records(root: Path) -> Path | None:
    """The JSON of records in the data set, or beside its folder of pictures."""
    for place in (root, root.parent):
        found = sorted(place.glob("ffhq-dataset*.json")) if place.is_dir() else []
        if found:
            return found[-1]
    return None


def picture_numbers(names: list[str]) -> NDArray[np.int64]:
    """FFHQ's number of each picture: the digits that end its name; the position, if two are alike or one has none."""
    stems = [PurePosixPath(name).stem if "." in name else name for name in names]
    digits = [stem[len(stem.rstrip("0123456789")) :] for stem in stems]
    numbers = [int(text) for text in digits if text and len(text) < 16]
    if len(set(numbers)) != len(names):
        return np.arange(len(names))
    return np.array(numbers, np.int64)


def read_records(path: Path) -> FFHQRecords:
    """Read the records, one at a time: the real file has 255 MB, which as Python objects would be six times as much.

    Raises:
        ValueError: when the file is no JSON of records.
    """
    numbers, validation, texts = [], [], {name: list[str]() for name in TEXTS}
    points: dict[str, list[NDArray[np.float32]]] = {"aligned": [], "wild": [], "quad": []}
    damaged = 0
    for key, record in _entries(path):
        if not key.isdecimal() or not isinstance(record, dict):
            raise ValueError(f"{path}: expected records under the keys '0', '1', ..., got {key[:40]!r}")
        numbers.append(int(key))
        validation.append({"training": 0, "validation": 1}.get(str(record.get("category")), -1))
        metadata, image, wild = (_dict(record.get(name)) for name in ("metadata", "image", "in_the_wild"))
        for name, found in texts.items():
            found.append(str(metadata.get(name) or ""))
        frame = _points([image.get("pixel_size", [1024, 1024])], (1, 2))
        rows = {
            "aligned": _points(image.get("face_landmarks"), (68, 2)),
            "wild": _points(wild.get("face_landmarks"), (68, 2)),
            "quad": _points(wild.get("face_quad"), (4, 2)),
        }
        damaged += any(
            np.isnan(rows[name]).any() and of.get(wanted) is not None
            for name, of, wanted in (
                ("aligned", image, "face_landmarks"),
                ("wild", wild, "face_landmarks"),
                ("quad", wild, "face_quad"),
            )
        )
        rows["aligned"] = (rows["aligned"] + np.float32(0.5)) / frame
        for name, array in rows.items():
            points[name].append(array)
    if not numbers:
        raise ValueError(f"{path}: expected FFHQ's records, got none")
    return FFHQRecords(
        np.array(numbers, np.int64),
        np.array(validation, np.int64),
        **{name: np.stack(arrays) for name, arrays in points.items()},
        texts={name: Texts(found) for name, found in texts.items()},
        damaged=damaged,
    )


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Keys and values of a JSON object."""
    try:
        text = path.read_text(encoding="utf-8")
        decoder, at = json.JSONDecoder(), _blank(text, 0)
        if text[at : at + 1] != "{":
            raise ValueError("it does not begin with '{'")
        at = _blank(text, at + 1)
        while text[at : at + 1] != "}":
            key, at = decoder.raw_decode(text, at)
            at = _blank(text, at)
            if text[at : at + 1] != ":":
                raise ValueError(f"no ':' at character {at}")
            value, at = decoder.raw_decode(text, _blank(text, at + 1))
            yield str(key), value
            at = _blank(text, at)
            if text[at : at + 1] == ",":
                at = _blank(text, at + 1)
            elif text[at : at + 1] != "}":
                raise ValueError(f"no ',' at character {at}")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected FFHQ's records in JSON ({error}); copy the file again") from error


def _blank(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\n", "\r", "\t"):
        at += 1
    return at


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _points(value: Any, shape: tuple[int, int]) -> NDArray[np.float32]:
    try:
        points = np.array(value, np.float32)
    except (TypeError, ValueError):
        points = np.zeros(0, np.float32)
    return points if points.shape == shape and np.isfinite(points).all() else np.full(shape, np.nan, np.float32)
