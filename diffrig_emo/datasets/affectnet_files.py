"""AffectNet on disk: its layouts, read row by row as they come."""

from __future__ import annotations

import csv
import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffrig_emo.datasets.picture_sources import SUFFIXES, FolderPictures

Part = Literal["train", "val"]
Layout = Literal["csv", "npy", "folder"]

EMOTIONS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
"""Names of the labels 0 to 7."""

_ALIASES = {
    0: ("neutral",),
    1: ("happy", "happiness", "joy"),
    2: ("sad", "sadness"),
    3: ("surprise", "surprised"),
    4: ("fear", "fearful", "afraid", "scared"),
    5: ("disgust", "disgusted"),
    6: ("anger", "angry"),
    7: ("contempt", "contemptuous"),
    8: ("none",),
    9: ("uncertain",),
    10: ("nonface", "noface"),
}
_LABELS = {name: label for label, names in _ALIASES.items() for name in names}


@dataclasses.dataclass(frozen=True)
class _Release:
    """Where a part of the original release lies, in the copies that are about."""

    lists: dict[str, str]
    list_folders: tuple[str, ...]
    image_folders: tuple[str, ...]


_MANUAL = _Release(
    {"train": "training.csv", "val": "validation.csv"},
    ("Manually_Annotated_file_lists", "Manually_Annotated/Manually_Annotated_file_lists", "Manually_Annotated", ""),
    ("Manually_Annotated/Manually_Annotated_Images", "Manually_Annotated_Images", "Manually_Annotated", ""),
)
_AUTOMATIC = _Release(
    {"train": "automatically_annotated.csv"},
    (
        "Automatically_annotated_file_list",
        "Automatically_Annotated/Automatically_annotated_file_list",
        "Automatically_Annotated",
        "",
    ),
    (
        "Automatically_Annotated/Automatically_Annotated_Images",
        "Automatically_Annotated_Images",
        "Automatically_Annotated",
        "",
    ),
)
_BOX = ("face_x", "face_y", "face_width", "face_height")
_COLUMNS = ("subDirectory_filePath", *_BOX, "facial_landmarks", "expression", "valence", "arousal")
_PARTS = {"train": ("train_set", "train", "training"), "val": ("val_set", "val", "valid", "validation", "test")}


@dataclasses.dataclass(frozen=True)
class Row:
    """One face as its files describe it; numbers are still texts, so that all layouts are checked alike."""

    name: str
    """Picture, relative to the data set."""
    label: str
    valence: str = ""
    arousal: str = ""
    landmarks: NDArray[np.float32] | None = None
    """(68, 2), None when they are illegible or there are none."""
    box: NDArray[np.float32] | None = None
    """Left, top, right, bottom; None when it is empty, illegible or there is none."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """A data set that was found."""

    layout: Layout
    split: bool
    """Whether training and validation faces are told apart."""
    image_folder: str
    """Folder of the pictures in the data set, where all names begin with it; else empty."""
    rows: Callable[[Part], Iterator[Row]]
    """Rows of a part; of all faces, when they are not told apart."""
    looked_for_parts: str
    """Where a part was looked for, to be told when it is missing."""


def find_affectnet(root: Path, layout: Literal["auto", "csv", "npy", "folder"], automatic: bool = False) -> Listing:
    """Recognise the layout: lists in CSV, else annotations in npy, else a folder per class.

    Args:
        root: the folder.
        layout: which layout; "auto" finds out.
        automatic: look for the automatically annotated list, and nothing else.

    Raises:
        FileNotFoundError: when nothing of the kind is there; the message says what was looked for.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: expected AffectNet's folder, but it does not exist")
    if automatic:
        found = _find_csv(root, _AUTOMATIC)
        if found is None:
            raise FileNotFoundError(
                f"{root}: expected automatically_annotated.csv in it or in {_AUTOMATIC.list_folders[0]}, found none"
            )
        return found
    finders = {"csv": _find_csv, "npy": _find_npy, "folder": _find_folder}
    for name, finder in finders.items():
        found = finder(root) if layout in ("auto", name) else None
        if found is not None:
            return found
    wanted = {
        "csv": "training.csv or validation.csv in it or in Manually_Annotated_file_lists",
        "npy": "annotations/*_exp.npy beside images/, in it or in train_set and val_set",
        "folder": f"folders named 0 to 7 or {', '.join(EMOTIONS)}, in it or in train and val",
    }
    asked = list(wanted.values()) if layout == "auto" else [wanted[layout]]
    raise FileNotFoundError(f"{root}: expected AffectNet, but found none of: {'; '.join(asked)}")


def emotion_of(folder: str) -> int | None:
    """Label of a class folder by its name, such as `happy`, `Happiness`, `1` or `1_happy`; None when it is none.

    The name counts, not the number before it: folders numbered alphabetically are common.

    Example:
        >>> [emotion_of(name) for name in ("Anger", "0_anger", "6", "photos")]
        [6, 6, 6, None]
    """
    word = re.sub(r"[^a-z]", "", folder.lower())
    if word:
        return _LABELS.get(word)
    return int(folder) if folder.isdecimal() and int(folder) <= 10 else None


def _find_csv(root: Path, release: _Release = _MANUAL) -> Listing | None:
    lists: dict[str, Path] = {}
    for folder in release.list_folders:
        for part, name in release.lists.items():
            found = _entry(root / folder, name)
            if found is not None:
                lists.setdefault(part, found)
    if not lists:
        return None
    first = next(iter(_csv_rows(next(iter(lists.values())))), None)
    inside = "" if first is None else first.name.split("/")[0]
    folders = [f for f in release.image_folders if (root / f).is_dir()]
    folder = next((f for f in folders if (root / f / inside).exists()), folders[0])

    def rows(part: Part) -> Iterator[Row]:
        prefix = f"{folder}/" if folder else ""
        for row in _csv_rows(lists[part]) if part in lists else ():
            yield dataclasses.replace(row, name=prefix + row.name)

    return Listing("csv", True, folder, rows, " and ".join(release.lists.values()))


def _csv_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = csv.reader(file)
        try:
            header = [name.strip() for name in next(lines, [])]
            begins_with_a_face = len(header) == len(_COLUMNS) and header[0].lower().endswith(SUFFIXES)
            columns = {name: i for i, name in enumerate(_COLUMNS if begins_with_a_face else header)}
            missing = [name for name in _COLUMNS if name not in columns]
            if missing:
                raise ValueError(f"{path}: expected the column {missing[0]}, got the columns {', '.join(header)[:300]}")
            if begins_with_a_face:
                yield _csv_row(header, columns)
            for cells in lines:
                if cells:
                    yield _csv_row(cells, columns)
        except csv.Error as error:
            raise ValueError(f"{path}, line {lines.line_num}: expected comma-separated values ({error})") from error


def _csv_row(cells: list[str], columns: dict[str, int]) -> Row:
    value = {name: cells[columns[name]] if columns[name] < len(cells) else "" for name in _COLUMNS}
    x, y, width, height = (_number(value[name]) for name in _BOX)
    box = np.array([x, y, x + width - 1, y + height - 1], np.float32)
    return Row(
        name=value["subDirectory_filePath"].strip().replace("\\", "/").removeprefix("./"),
        label=value["expression"],
        valence=value["valence"],
        arousal=value["arousal"],
        landmarks=_landmarks(re.split("[;,]", value["facial_landmarks"].strip(" ;,[]"))),
        box=box if np.isfinite(box).all() and width > 1 and height > 1 and x >= 0 and y >= 0 else None,
    )


def _find_npy(root: Path) -> Listing | None:
    folders = _part_folders(root)
    if not any(_has_npy(root / folder) for folder in folders.values()):
        folders = {"train": ""} if _has_npy(root) else {}
    if not folders:
        return None

    def rows(part: Part) -> Iterator[Row]:
        if part in folders:
            yield from _npy_rows(root, folders[part])

    return Listing("npy", "" not in folders.values(), "", rows, "the folders train_set and val_set")


def _has_npy(folder: Path) -> bool:
    annotations = folder / "annotations"
    return annotations.is_dir() and any(name.endswith("_exp.npy") for name in os.listdir(annotations))  # noqa: PTH208


def _npy_rows(root: Path, folder: str) -> Iterator[Row]:
    annotations = root / folder / "annotations"
    pictures = FolderPictures(root, str(Path(folder) / "images")).names() if (root / folder / "images").is_dir() else []
    stems = {Path(name).stem: name for name in pictures}
    for stem in sorted(n.removesuffix("_exp.npy") for n in os.listdir(annotations) if n.endswith("_exp.npy")):  # noqa: PTH208
        values = [_npy(annotations / f"{stem}_{kind}.npy") for kind in ("exp", "val", "aro", "lnd")]
        label, valence, arousal = (str(v.item()) if v is not None and v.size == 1 else "" for v in values[:3])
        points = None if values[3] is None else _landmarks(list(values[3].flatten()))
        name = stems.pop(stem, "") or (Path(folder) / "images" / f"{stem}.jpg").as_posix()
        yield Row(name, label, valence, arousal, points)
    for name in stems.values():
        yield Row(name, "no annotation")


def _npy(path: Path) -> NDArray[np.generic] | None:
    try:
        array: NDArray[np.generic] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError):
        return None
    return array


def _find_folder(root: Path) -> Listing | None:
    folders = {part: f for part, f in _part_folders(root).items() if _has_classes(root / f)}
    if not folders:
        folders = {"train": ""} if _has_classes(root) else {}
    if not folders:
        return None

    def rows(part: Part) -> Iterator[Row]:
        folder = folders.get(part)
        if folder is None:
            return
        depth = len(Path(folder).parts)
        for name in FolderPictures(root, folder).names():
            parts = name.split("/")
            label = emotion_of(parts[depth]) if len(parts) > depth + 1 else None
            yield Row(name, "no emotion" if label is None else str(label))

    return Listing("folder", "" not in folders.values(), "", rows, "the folders train and val")


def _has_classes(folder: Path) -> bool:
    return folder.is_dir() and any(emotion_of(p.name) is not None for p in folder.iterdir() if p.is_dir())


def _part_folders(root: Path) -> dict[str, str]:
    """Folders of the parts, by whatever usual name."""
    found = {}
    for part, names in _PARTS.items():
        entries = [_entry(root, name) for name in names]
        folder = next((entry for entry in entries if entry is not None and entry.is_dir()), None)
        if folder is not None:
            found[part] = folder.name
    return found


def _entry(folder: Path, name: str) -> Path | None:
    """A file or folder, in whatever case its name is written."""
    if (folder / name).exists():
        return folder / name
    entries = folder.iterdir() if folder.is_dir() else iter(())
    return next((entry for entry in entries if entry.name.lower() == name.lower()), None)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _landmarks(values: list[str]) -> NDArray[np.float32] | None:
    if len(values) != 136:
        return None
    try:
        points = np.array([float(value) for value in values], np.float32).reshape(68, 2)
    except (TypeError, ValueError):
        return None
    return points if np.isfinite(points).all() and (np.ptp(points, axis=0) >= 2).all() else None
