"""Flickr-Faces-HQ, in every layout it is found in."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from diffrig_emo.datasets.cutting import cut_aligned, quad_tform
from diffrig_emo.datasets.detectors.stored import zoom_points
from diffrig_emo.datasets.face_files import FaceFiles, FaceTable
from diffrig_emo.datasets.ffhq_files import (
    TEXTS,
    WILD,
    FFHQRecords,
    find_records,
    open_ffhq,
    picture_numbers,
    read_records,
)
from diffrig_emo.datasets.picture_sources import Texts
from diffrig_emo.structures import FaceBatch

Part = Literal["train", "val", "all"]


class FFHQFace(FaceBatch, total=False):
    """A face of FFHQ, with the rights in its photo. Empty where no record says."""

    license: str
    """Name of the licence, such as "Attribution License"."""
    license_url: str
    """Where the licence stands."""
    author: str
    """Whom to credit."""
    photo_url: str
    """Where the photo was published."""
    photo_title: str
    """What its author called it."""


class FFHQ(FaceFiles):
    """FFHQ (Karras et al., "A Style-Based Generator Architecture for Generative Adversarial Networks", 2019).

    The layout is recognised: FFHQ's own folders (`images1024x1024/00000/00000.png`, also re-aligned, as thumbnails or
    in the wild), any folder of numbered pictures, StyleGAN's zip, DiffAE's LMDB (`ffhq256.lmdb`). The records of
    `ffhq-dataset-v2.json` are read when the file lies in `root` or beside it: licences, landmarks and categories.

    Photos in the wild are cut out at the record's `face_quad` as FFHQ's alignment does, which reflects, blurs and fades
    the photo's border where the square reaches beyond it (see `cut_aligned`). Those whose record has no such square are
    left out and counted.

    Args:
        root: folder, zip file or LMDB folder.
        part: training faces, validation faces or all.
        split: what they are. "official": by the record's category, else pictures 0 to 59999 train; "diffae": the first
            10,000 are for validation, the others train; "all": all faces train, and all validate.
        image_size: side of the pictures in pixels.
        store: code store of these pictures; see `FaceFiles`.
        folder: folder of pictures in `root`; None takes the aligned pictures of the largest name.

    Raises:
        FileNotFoundError: when there is no picture.
        ValueError: when the records are damaged, or the part holds no face.
    """

    def __init__(
        self,
        root: str | Path,
        part: Part = "all",
        split: Literal["official", "diffae", "all"] = "official",
        image_size: int = 256,
        store: str | Path | None = None,
        folder: str | None = None,
    ) -> None:
        root = Path(root)
        if part not in ("train", "val", "all"):
            raise ValueError(f"part: expected 'train', 'val' or 'all', got {part!r}")
        if split not in ("official", "diffae", "all"):
            raise ValueError(f"split: expected 'official', 'diffae' or 'all', got {split!r}")
        pictures, layout = open_ffhq(root, folder)
        self.layout = layout or "folder"
        """Folder of the pictures in FFHQ's own layout; "folder", "zip" or "lmdb" in others."""
        self._wild = WILD in (layout, root.name)
        names = pictures.names()
        if not names:
            raise FileNotFoundError(f"{root / layout}: expected FFHQ's pictures, got no picture at all")
        numbers = picture_numbers(names)
        path = find_records(root)
        self.records = path
        """The file of records, None when there is none."""
        records = None if path is None else read_records(path)
        self._faces, landmarks = _columns(numbers, records, self._wild)
        self.damaged_records = 0 if records is None else records.damaged
        """Records with landmarks that are no landmarks; those count as unknown."""
        self._cut_wild = self._wild and records is not None
        table = dataclasses.replace(FaceTable.of_names(names), landmarks=landmarks)
        super().__init__(pictures, table, image_size, "ffhq", layout)
        rows = _rows(self._faces, part, split)
        placed = rows
        if self._cut_wild and store is None:  # a store knows better where the face lies
            placed = rows[~np.isnan(self._faces.quad[rows]).any(axis=(1, 2))]
        self.unplaced = len(rows) - len(placed)
        """Photos in the wild that were left out, because no record says where the face lies."""
        rows = placed
        if not len(rows):
            raise ValueError(
                f"{root}: no face in part={part!r} of split={split!r}; its {len(names)} pictures have the numbers "
                f"{numbers.min()} to {numbers.max()}. Take split='all', or put ffhq-dataset-v2.json beside them"
            )
        self._select(rows)
        if store is not None:
            self._use_store(store)

    def __getitem__(self, index: int) -> FFHQFace:
        """One face."""
        item = super().__getitem__(index)
        number = int(item["index"])
        rights: Any = {name: texts[number] for name, texts in self._faces.texts.items()}
        return cast(FFHQFace, item | rights)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """FFHQ's own number of each picture, (n,)."""
        return self._faces.number

    def describe(self, decode: bool = False) -> str:
        """Layout, number of faces, what is missing, and how many photos each licence has.

        Args:
            decode: read every picture, to list those that cannot be read.
        """
        known = int((~np.isnan(self._table.landmarks[:, 0, 0])).sum()) if len(self._table.landmarks) else 0
        lines = [
            f"FFHQ in {self._pictures.path}: layout {self.layout}, {len(self):,} faces",
            f"  records    {self.records or 'none found: no licences, no landmarks'}",
            f"  landmarks  {known:,} faces"
            + (f", {self.damaged_records:,} records are damaged" * bool(self.damaged_records)),
        ]
        if self.store is not None:
            lines.append(f"  codes      {self.store.path}; left out, for want of codes: {self.uncoded:,}")
        if self.unplaced:
            lines.append(f"  left out, no record of where the face lies: {self.unplaced:,}")
        licences = Counter(self._faces.texts["license"])
        lines += [f"  licence    {name or 'unknown'}: {count:,}" for name, count in licences.most_common()]
        return "\n".join([*lines, *(self._describe_unreadable() if decode else ())])

    def _select(self, rows: NDArray[np.int64]) -> None:
        super()._select(rows)
        self._faces = self._faces.take(rows)

    def _cut(self, number: int, photo: Float[Tensor, "3 height width"], zoom: float) -> tuple[Tensor, Tensor]:
        if not self._cut_wild:
            return super()._cut(number, photo, zoom)
        quad = zoom_points(torch.from_numpy(self._faces.quad[number].copy()), zoom)
        tform = quad_tform(quad, self.image_size)
        return cut_aligned(photo, tform, self.image_size), tform

    def _photo_landmarks(self, number: int, zoom: float, photo_size: torch.Size | None) -> Tensor | None:
        points = super()._photo_landmarks(number, zoom if self._wild else 1.0, photo_size)
        if self._wild or points is None:
            return points
        # Kept in shares of the picture, which may be smaller than the 1024 pixels that the records speak of.
        return None if photo_size is None else points * torch.tensor([photo_size[1], photo_size[0]]) - 0.5

    def _names_in_store(self, number: int) -> Iterable[str]:
        yield from super()._names_in_store(number)
        face = int(self._faces.number[number])
        yield f"{face // 1000 * 1000:05d}/{face:05d}.png"
        yield f"{face:05d}.png"


@dataclasses.dataclass(frozen=True)
class _Faces:
    """What FFHQ's records know, one row per picture."""

    number: NDArray[np.int64]
    validation: NDArray[np.int64]
    quad: NDArray[np.float32]
    texts: dict[str, Texts]

    def take(self, rows: NDArray[np.int64]) -> _Faces:
        return _Faces(
            self.number[rows],
            self.validation[rows],
            self.quad[rows] if len(self.quad) else self.quad,
            {name: Texts([texts[int(row)] for row in rows]) for name, texts in self.texts.items()},
        )


def _columns(numbers: NDArray[np.int64], records: FFHQRecords | None, wild: bool) -> tuple[_Faces, NDArray[np.float32]]:
    """What is known of these pictures, and their landmarks."""
    count = len(numbers)
    if records is None:
        nothing = {name: Texts([""] * count) for name in TEXTS}
        faces = _Faces(numbers, np.full(count, -1), np.zeros((0, 4, 2), np.float32), nothing)
        return faces, np.zeros((0, 68, 2), np.float32)
    row_of = {int(number): row for row, number in enumerate(records.number)}
    rows = np.array([row_of.get(int(number), -1) for number in numbers])
    known = rows >= 0

    def joined(column: NDArray[np.float32]) -> NDArray[np.float32]:
        array = np.full((count, *column.shape[1:]), np.nan, np.float32)
        array[known] = column[rows[known]]
        return array

    faces = _Faces(
        numbers,
        np.where(known, records.validation[rows], -1),
        joined(records.quad) if wild else np.zeros((0, 4, 2), np.float32),
        {name: Texts([texts[int(r)] if r >= 0 else "" for r in rows]) for name, texts in records.texts.items()},
    )
    return faces, joined(records.wild if wild else records.aligned)


def _rows(faces: _Faces, part: Part, split: str) -> NDArray[np.int64]:
    if part == "all" or split == "all":
        return np.arange(len(faces.number))
    if split == "diffae":
        validation = faces.number < 10_000
    else:
        validation = np.where(faces.validation >= 0, faces.validation == 1, faces.number >= 60_000)
    return np.flatnonzero(validation == (part == "val"))
