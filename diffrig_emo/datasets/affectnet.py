"""AffectNet, in every layout it is found in."""

from __future__ import annotations

import dataclasses
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from diffrig_emo.datasets.affectnet_files import EMOTIONS, Part, Row, find_affectnet
from diffrig_emo.datasets.cutting import cut
from diffrig_emo.datasets.detectors.stored import zoom_points
from diffrig_emo.datasets.face_files import FaceFiles, FaceTable
from diffrig_emo.datasets.picture_sources import FolderPictures, Texts
from diffrig_emo.transforms.crop import crop_tform, landmark_box

PUBLISHED = {
    "train": (74_874, 134_415, 25_459, 14_090, 6_378, 3_803, 24_882, 3_750),
    "val": (500,) * 8,
}
"""Faces of the labels 0 to 7 in AffectNet's manually annotated lists."""

Crop = Literal["auto", "landmarks", "box", "none"]
_MISSING = "no valence and arousal"


class AffectNet(FaceFiles):
    """AffectNet (Mollahosseini et al., "AffectNet: A Database for Facial Expression, Valence, and Arousal", 2017).

    Three layouts are recognised: the original release with its CSV lists, the cropped release with `.npy`
    annotations, and copies with a folder per class (mapped by name, never by position). Valence and arousal of -2 or
    nothing become NaN. What is unusable is left out and counted in `dropped`: labels outside 0 to 7, numbers that are
    none, pictures that are not there, faces without a place.

    Args:
        root: the folder of the data set.
        part: training or validation faces.
        layout: which layout; "auto" finds out.
        classes: 8 keeps the labels 0 to 7; 7 leaves out contempt.
        image_size: side of the pictures in pixels.
        crop: where the face is cut out, by DECA's rule: around the landmarks (or, where those are illegible, the
            list's box), around the box, or not at all ("none": the largest square in the middle). "auto": around the
            landmarks in the original release, not at all in the others, which are cropped already.
        scale: side of the crop relative to the face.
        require_va: also leave out faces without valence and arousal.
        val_fraction: validate on this share of the training faces, drawn by the names of the pictures, instead of the
            official list; for copies that have none.
        store: code store of these pictures; see `FaceFiles`.
        automatic: train on the automatically annotated list of the original release instead of the manual one.
            Validation faces are those of the manual list all the same, unless `val_fraction` draws them.

    Raises:
        FileNotFoundError: when there is no AffectNet in `root`.
        ValueError: when a list lacks columns, an option does not fit the layout, or no face is left.
    """

    def __init__(
        self,
        root: str | Path,
        part: Part = "train",
        layout: Literal["auto", "csv", "npy", "folder"] = "auto",
        classes: Literal[7, 8] = 8,
        image_size: int = 256,
        crop: Crop = "auto",
        scale: float = 1.25,
        require_va: bool = False,
        val_fraction: float | None = None,
        store: str | Path | None = None,
        automatic: bool = False,
    ) -> None:
        _check(part, layout, classes, crop, scale, val_fraction)
        root = Path(root)
        if automatic and layout not in ("auto", "csv"):
            raise ValueError(f"automatic: expected layout 'csv', which alone has that list, got {layout!r}")
        self.automatic = automatic and (part == "train" or val_fraction is not None)
        """Whether the faces are those of the automatically annotated list."""
        listing = find_affectnet(root, layout, self.automatic)
        self.layout = listing.layout
        """Layout that was found."""
        self.part = part
        self.classes = classes
        self.crop: Crop = ("landmarks" if listing.layout == "csv" else "none") if crop == "auto" else crop
        """How faces are cut out."""
        self.scale = scale
        offered = {"csv": ("landmarks", "box", "none"), "npy": ("landmarks", "none"), "folder": ("none",)}
        if self.crop not in offered[self.layout]:
            raise ValueError(
                f"crop: expected one of {offered[self.layout]} in the layout {self.layout!r}, got {crop!r}"
            )
        if not listing.split and val_fraction is None:
            raise ValueError(
                f"{root}: training and validation faces are not told apart here (looked for {listing.looked_for_parts})"
                "; give val_fraction, such as 0.05"
            )
        rows: Iterable[Row] = listing.rows(part if val_fraction is None else "train")
        if val_fraction is not None:
            rows = (row for row in rows if (_draw(row.name) < val_fraction) == (part == "val"))
        pictures = FolderPictures(root, listing.image_folder)
        sieve = _Sieve(pictures.names(), classes, self.crop, require_va)
        table = _table([kept for row in rows if (kept := sieve(row)) is not None], self.layout)
        self.dropped: dict[str, int] = dict(sieve.counts)
        """Faces left out, by reason."""
        self._first_dropped = sieve.first
        if not len(table):
            raise ValueError(
                f"{root}: no face of part={part!r} can be used (looked for {listing.looked_for_parts}); left out: "
                f"{self.dropped or 'none, the list is empty or missing'}"
            )
        super().__init__(pictures, table, image_size, "affectnet", listing.image_folder)
        if store is not None:
            self._use_store(store)

    @property
    def class_counts(self) -> tuple[int, ...]:
        """Faces of each class."""
        return tuple(int(count) for count in np.bincount(self.labels, minlength=self.classes)[: self.classes])

    def describe(self, decode: bool = False) -> str:
        """Layout, faces of each class beside the published numbers, and what was left out.

        Args:
            decode: read every picture, to find those that cannot be; takes minutes for the whole data set.
        """
        lines = [f"AffectNet in {self._pictures.path}: layout {self.layout}, part {self.part}, {len(self):,} faces"]
        lines.append(f"  {'class':<12}{'here':>10}{'published':>12}")
        for label, count in enumerate(self.class_counts):
            published = "unknown" if self.automatic else f"{PUBLISHED[self.part][label]:,}"
            lines.append(f"  {EMOTIONS[label]:<12}{count:>10,}{published:>12}")
        known = ~np.isnan(self._table.va).any(axis=1)
        lines.append(f"  with valence and arousal: {int(known.sum()):,}")
        points = int((~np.isnan(self._table.landmarks[:, 0, 0])).sum())
        lines.append(f"  with landmarks: {points:,}; crop: {self.crop}")
        for reason, count in sorted(self.dropped.items(), key=lambda item: -item[1]):
            lines.append(f"  left out, {reason}: {count:,} (first: {self._first_dropped[reason]})")
        if self.store is not None:
            lines.append(f"  left out, no codes in {self.store.path}: {self.uncoded:,}")
        return "\n".join([*lines, *(self._describe_unreadable() if decode else ())])

    def _cut(self, number: int, photo: Float[Tensor, "3 height width"], zoom: float) -> tuple[Tensor, Tensor]:
        if self.crop == "none":
            return super()._cut(number, photo, zoom)
        points = torch.from_numpy(self._table.landmarks[number].copy())
        if self.crop == "landmarks" and not points.isnan().any():
            box = landmark_box(zoom_points(points, zoom)[None])
            tform = crop_tform(box, "kpt68", self.image_size, self.scale)[0]
        else:
            corners = torch.from_numpy(self._table.boxes[number].copy()).reshape(2, 2)
            box = zoom_points(corners, zoom).reshape(1, 4)
            tform = crop_tform(box, "bbox", self.image_size, self.scale)[0]
        return cut(photo, tform, self.image_size), tform


@dataclasses.dataclass(frozen=True)
class _Face:
    name: str
    label: int
    va: tuple[float, float]
    landmarks: NDArray[np.float32] | None
    box: NDArray[np.float32] | None


class _Sieve:
    """Lets usable rows through, and counts why the others are not."""

    def __init__(self, names: Sequence[str], classes: int, crop: Crop, require_va: bool) -> None:
        self.counts: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        self._names = set(names)
        self._in_any_case = {name.lower(): name for name in names}
        self._classes = classes
        self._crop = crop
        self._require_va = require_va

    def __call__(self, row: Row) -> _Face | None:
        found = self._face(row)
        if isinstance(found, _Face):
            return found
        self.counts[found] += 1
        self.first.setdefault(found, row.name or "a row without a path")
        return None

    def _face(self, row: Row) -> _Face | str:
        """The face, or why it is left out."""
        label = _whole(row.label)
        if label is None or not 0 <= label <= 10:
            return "label is not a number from 0 to 10"
        if label >= 8:
            return "no emotion (none, uncertain or no face)"
        if label >= self._classes:
            return "contempt"
        valence, arousal = _affect(row.valence), _affect(row.arousal)
        if valence is None or arousal is None:
            return "valence or arousal is not a number from -1 to 1"
        if self._require_va and math.isnan(valence + arousal):
            return _MISSING
        name = row.name if row.name in self._names else self._in_any_case.get(row.name.lower())
        if name is None:
            return "picture is missing"
        if self._crop == "landmarks" and row.landmarks is None and row.box is None:
            return "landmarks and box are illegible"
        if self._crop == "box" and row.box is None:
            return "box is empty or negative"
        return _Face(name, label, (valence, arousal), row.landmarks, row.box)


def _table(faces: list[_Face], layout: str) -> FaceTable:
    count = len(faces)
    landmarks = np.full((count, 68, 2), np.nan, np.float32)
    boxes = np.full((count if layout == "csv" else 0, 4), np.nan, np.float32)
    for row, face in enumerate(faces):
        if face.landmarks is not None:
            landmarks[row] = face.landmarks
        if face.box is not None:
            boxes[row] = face.box
    return FaceTable(
        Texts([face.name for face in faces]),
        np.array([face.label for face in faces], np.int64),
        np.array([face.va for face in faces], np.float32).reshape(count, 2),
        landmarks,
        boxes,
    )


def _whole(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _affect(text: str) -> float | None:
    """Valence or arousal; NaN when it was not annotated, None when it is nonsense."""
    if not text.strip():
        return math.nan
    try:
        number = float(text)
    except ValueError:
        return None
    if number == -2 or math.isnan(number):
        return math.nan
    return number if -1 <= number <= 1 else None


def _draw(name: str) -> float:
    """A number in [0, 1) that depends on the name alone: a face stays in its part whatever else is there."""
    return zlib.crc32(name.encode()) / 2**32


def _check(part: str, layout: str, classes: int, crop: str, scale: float, val_fraction: float | None) -> None:
    choices: dict[str, tuple[object, tuple[object, ...]]] = {
        "part": (part, ("train", "val")),
        "layout": (layout, ("auto", "csv", "npy", "folder")),
        "classes": (classes, (7, 8)),
        "crop": (crop, ("auto", "landmarks", "box", "none")),
    }
    for name, (value, offered) in choices.items():
        if value not in offered:
            raise ValueError(f"{name}: expected one of {offered}, got {value!r}")
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale: expected a number above 0, got {scale}")
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise ValueError(f"val_fraction: expected a share between 0 and 1, got {val_fraction}")
