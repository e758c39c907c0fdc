"""Reading a code store: a map-style dataset, and codes in bulk."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from diffrig_emo.datasets.cutting import cut_aligned
from diffrig_emo.datasets.pictures import decode_picture
from diffrig_emo.datasets.store_format import (
    CODES,
    Rows,
    StoreFile,
    columns_of,
    is_coded,
    read_layout,
    without_mesh_landmarks,
)
from diffrig_emo.datasets.store_parts import parts_folder
from diffrig_emo.io.images import read_image
from diffrig_emo.structures import FaceBatch, FaceCodes


class CodeStore(Dataset[FaceBatch]):
    """Faces of a code store, as `diffrig-emo prepare` and `import-lmdb` make it.

    Items have `image` where pictures are stored (or found), `codes` where faces are coded, `landmarks` where they are
    known of the photo, and always `label`, `va`, `path`, `index` and `source`. Landmarks of encoded meshes
    (`quality_landmarks` is 0, see `StoreWriterCallback`) are no truth: items have NaN in their place, and
    `column("landmarks")` has them. Any number of workers and processes read at once;
    none of them locks the file, and none keeps more in memory than the face it reads.

    Args:
        path: the store.
        image_root: folder of the photos; pictures that are not stored are read from there and, where the store
            knows how they lie in the photo, cut out as they were for encoding, bit for bit (see `cut_aligned`).
        image_size: side in pixels of pictures cut out of photos; None is what the store was prepared for, else 256.

    Raises:
        FileNotFoundError: when there is no such store, or only parts of an unfinished one.
        ValueError: when the file is truncated, damaged, or no code store, or was prepared for another `image_size`.
    """

    def __init__(self, path: str | Path, image_root: str | Path | None = None, image_size: int | None = None) -> None:
        self.path = Path(path)
        self.image_root = None if image_root is None else Path(image_root)
        parts = parts_folder(self.path)
        if not self.path.exists() and any(parts.glob("rank*.h5")):
            raise FileNotFoundError(
                f"{self.path}: not there yet, only parts of it in {parts}. Run the command that was interrupted again, "
                "or make a store of what is there with `diffrig_emo.datasets.merge`"
            )
        self._layout = read_layout(self.path)
        sizes = {int(record["image_size"]) for record in self.provenance if "image_size" in record}
        if image_size is not None and sizes - {image_size}:
            raise ValueError(
                f"image_size: {self.path} was prepared for {', '.join(map(str, sorted(sizes)))} pixels, to which its "
                f"transforms refer, got {image_size}; give that size, or prepare the store for this one"
            )
        self.image_size = image_size if image_size is not None else max(sizes, default=256)
        """Side of the aligned pictures in pixels."""
        self._identity = _identity(self.path)
        self._file: StoreFile | None = None

    def __len__(self) -> int:
        return self._layout.num_faces

    def __getitem__(self, index: int) -> FaceBatch:
        number = self._number(index)
        rows = self._opened().rows(number, 1)
        row = rows[0]
        note = self._opened().note(row)
        path = str(note.get("path", note["key"]))
        item = FaceBatch(
            label=torch.tensor(int(row["label"])),
            va=torch.from_numpy(rows["va"][0]),
            path=path,  # type: ignore[typeddict-item]
            index=torch.tensor(number),
            source=note.get("source", ""),
        )
        if self._layout.sizes["images"] or self.image_root is not None:
            item["image"] = self._image(number, row, path)
        if self.space:
            item["codes"] = self._to_codes(rows, number)
        if "landmarks" in columns_of(self._layout.dtype):
            item["landmarks"] = torch.from_numpy(without_mesh_landmarks(rows)[0])
        return item

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}

    @property
    def space(self) -> str:
        """Name of the code space; empty while no face has codes."""
        return self._layout.about.space

    @property
    def provenance(self) -> tuple[Mapping[str, Any], ...]:
        """One record for each way that faces came in: encoder, checksums of its assets, library version, ..."""
        return self._layout.about.provenance

    @property
    def mean_shape(self) -> Float[Tensor, " n_shape"] | None:
        """Shape code shared by an album's faces, if one is kept with them."""
        shape = self._layout.about.mean_shape
        return None if shape is None else torch.from_numpy(shape.copy())

    @property
    def skipped(self) -> dict[str, str]:
        """Why photos that are missing here could not be stored, by key."""
        return self._opened().skipped()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names that `column` takes."""
        return (*columns_of(self._layout.dtype), "label", "va")

    def column(self, name: str) -> NDArray[Any]:
        """One value of all faces, such as `label`, `cam` or `quality_score`; NaN or -1 where it is unknown."""
        if name not in self.columns:
            raise ValueError(f"{self.path}: no column {name!r}; there are {', '.join(self.columns)}")
        blocks = [rows[name].copy() for _, rows in self._opened().blocks()]
        return np.concatenate(blocks) if blocks else np.zeros((0, *self._layout.dtype[name].shape))

    @property
    def coded(self) -> NDArray[np.bool_]:
        """Which faces have codes."""
        blocks = [is_coded(rows) for _, rows in self._opened().blocks()]
        return np.concatenate(blocks) if blocks else np.zeros(0, bool)

    def notes(self) -> Iterator[dict[str, Any]]:
        """The note of each face in order: `key`, and `path`, `source` and other texts where they are known."""
        file = self._opened()
        return (file.note(row) for _, rows in file.blocks() for row in rows)

    def codes(self, indices: Sequence[int] | Tensor | NDArray[np.int64] | None = None) -> FaceCodes:
        """Codes of many faces at once, without their pictures.

        Args:
            indices: numbers of the faces, in any order; None takes all.

        Raises:
            ValueError: when one of them has no codes yet.
            IndexError: when there is no such face.
        """
        file = self._opened()
        if indices is None:
            return self._to_codes(file.rows(0, len(self)), 0)
        numbers = [self._number(int(index)) for index in indices]
        if not numbers:
            raise ValueError("indices: expected at least one, got none")
        rows = np.empty(len(numbers), self._layout.dtype)
        for i, number in enumerate(numbers):
            rows[i] = file.rows(number, 1)[0]
        return self._to_codes(rows, numbers)

    def image_bytes(self, index: int) -> bytes:
        """The picture of a face as it is stored, JPEG or PNG; empty when none is.

        Raises:
            ValueError: when it was damaged since it was written.
        """
        number = self._number(index)
        return bytes(self._encoded(number, self._opened().rows(number, 1)[0]))

    def _encoded(self, number: int, row: np.void) -> bytearray:
        data = self._opened().image_bytes(row)
        if zlib.crc32(data) != row["image_crc"] and data:
            raise ValueError(f"{self.path}: the picture of face {number} is damaged; copy the store again")
        return data

    def _image(self, number: int, row: np.void, path: str) -> Tensor:
        if row["image_size"]:
            return decode_picture(self._encoded(number, row))
        if self.image_root is None:
            raise ValueError(f"{self.path}: face {number} ({path}) has no picture here; give image_root, where it lies")
        photo = read_image(self.image_root / path)
        if "photo_to_aligned" not in self.columns or np.isnan(row["photo_to_aligned"]).any():
            return photo
        return cut_aligned(photo, torch.from_numpy(row["photo_to_aligned"].copy()), self.image_size)

    def _to_codes(self, rows: Rows, numbers: int | Sequence[int]) -> FaceCodes:
        missing = np.flatnonzero(~is_coded(rows))
        if missing.size or not len(rows):
            first = numbers if isinstance(numbers, int) else numbers[missing[0]]
            first = first + int(missing[0]) if isinstance(numbers, int) and missing.size else first
            raise ValueError(
                f"{self.path}: {missing.size} of {len(rows)} faces have no codes yet, the first is number {first}; add "
                "them under the same keys with StoreWriter.add(key, codes=...), or prepare the photos anew"
            )
        columns = columns_of(self._layout.dtype)
        fields = {n: torch.from_numpy(np.ascontiguousarray(rows[n])) for n in CODES if n in columns}
        return FaceCodes(**fields, space=self.space)

    def _number(self, index: int) -> int:
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"face {index} of {self.path}, which has {len(self)}")
        return number

    def _opened(self) -> StoreFile:
        # A worker that is forked reads through its parent's file; one that is spawned opens its own.
        if self._file is None:
            if _identity(self.path) != self._identity:
                raise ValueError(f"{self.path}: the store was replaced since it was opened; open it again")
            self._file = StoreFile(self.path, self._layout)
        return self._file


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
