"""Which pictures of a study show the same face: matched by file name across systems, sources and emotions."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from diffrig_emo.datasets.affectnet_files import emotion_of
from diffrig_emo.datasets.picture_sources import FolderPictures
from diffrig_emo.metrics.functional import EMOTIONS

_OVERVIEW = "grid.png"
"""The picture of everything that `diffrig-emo edit` puts beside its edits."""


@dataclasses.dataclass(frozen=True)
class StudyFaces:
    """The faces that all systems have pictures of."""

    pictures: dict[str, dict[str, Path]]
    """Of each face, by name, the picture of each system."""
    sources: dict[str, Path]
    """Photographs that the pictures were made from, of the faces that have one."""
    emotions: dict[str, str]
    """Emotions that the pictures shall show, of the faces that have one."""
    left_out: dict[str, str]
    """Faces that cannot be asked about, and why."""

    def without(self, reasons: Mapping[str, str]) -> StudyFaces:
        """The faces but some, each with the reason."""
        return dataclasses.replace(
            self,
            pictures={face: own for face, own in self.pictures.items() if face not in reasons},
            left_out={**self.left_out, **reasons},
        )


def match_faces(
    systems: Mapping[str, Path], sources: Path | None = None, emotions: Path | None = None, pattern: str = "*"
) -> StudyFaces:
    """Find the pictures of each face.

    A face is a name: that of its picture in the system's folder, without suffix, with `/` between folders. Its source
    has the same name, or the longest one that the face's begins with, up to an underscore: `anna.jpg` is the source of
    `anna_smile_exp.png`. Its emotion is in the table, or the one word of its name that is an emotion's, such as
    `anna_happy` or `anger/anna`. Without a table, a name with none or with several has no emotion.

    Args:
        systems: folder of each system's pictures, by name.
        sources: folder of source photographs.
        emotions: CSV table with the columns `name` and `emotion`.
        pattern: which pictures of the systems' folders to take, such as `*_exp.png`.

    Raises:
        FileNotFoundError: when a folder is missing, or has no picture that fits.
        ValueError: when no face is in all folders, two pictures of a folder have one name, or the table is damaged.
    """
    folders = {system: _pictures(folder, pattern) for system, folder in systems.items()}
    names = sorted(set().union(*folders.values()))
    lacks = {name: [s for s, pictures in folders.items() if name not in pictures] for name in names}
    common = [name for name in names if not lacks[name]]
    if not common:
        each = "; ".join(f"{folder} ({s}) has {_few(folders[s])}" for s, folder in systems.items())
        raise ValueError(f"systems: expected pictures of the same names in every folder, got none: {each}")
    left_out = {
        name: "not in " + ", ".join(f"{systems[s]} ({s})" for s in missing)
        for name, missing in lacks.items()
        if missing
    }
    photos = {} if sources is None else _pictures(sources, "*")
    found = {name: _source_of(name, photos) for name in common}
    table = None if emotions is None else _read_emotions(emotions)
    known = {name: _emotion_in(name) if table is None else table.get(name) for name in common}
    return StudyFaces(
        pictures={name: {system: folders[system][name] for system in systems} for name in common},
        sources={name: photo for name, photo in found.items() if photo is not None},
        emotions={name: emotion for name, emotion in known.items() if emotion is not None},
        left_out=left_out,
    )


def _pictures(folder: Path, pattern: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected a folder of pictures, but there is none")
    found: dict[str, Path] = {}
    for name in FolderPictures(folder).names():
        if name == _OVERVIEW or not fnmatch(name, pattern):
            continue
        face = PurePosixPath(name).with_suffix("").as_posix()
        if face in found:
            raise ValueError(f"{folder}: expected one picture of each name, got {found[face].name} and {name}")
        found[face] = folder / name
    if not found:
        wanted = "" if pattern == "*" else f" that fit {pattern!r}"
        raise FileNotFoundError(f"{folder}: expected pictures{wanted} in this folder, got none")
    return found


def _source_of(face: str, photos: Mapping[str, Path]) -> Path | None:
    own = PurePosixPath(face).name
    begun = [name for name in photos if own.startswith(f"{name}_")]
    for name in (face, own, *sorted(begun, key=len, reverse=True)):
        if name in photos:
            return photos[name]
    return None


def _emotion_in(face: str) -> str | None:
    labels = {emotion_of(word) for word in re.split(r"[^a-z]+", face.lower()) if word} - {None}
    (label,) = labels if len(labels) == 1 else (None,)
    return EMOTIONS[label] if label is not None and label < len(EMOTIONS) else None


def _read_emotions(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not {"name", "emotion"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path}: expected a table with the columns name and emotion, got {rows.fieldnames}")
        emotions: dict[str, str] = {}
        for number, row in enumerate(rows, start=2):
            name, emotion = (row["name"] or "").strip(), (row["emotion"] or "").strip().lower()
            if emotion not in EMOTIONS:
                near = difflib.get_close_matches(emotion, EMOTIONS, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(f"{path}, line {number}: expected one of {', '.join(EMOTIONS)}, got {emotion!r}{hint}")
            # With or without the suffix; a dot within a name is no suffix of a picture.
            is_file = PurePosixPath(name).suffix.lower() in {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
            emotions[PurePosixPath(name).with_suffix("").as_posix() if is_file else name] = emotion
    return emotions


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
