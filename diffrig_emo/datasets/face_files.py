"""What data sets of picture files share: reading, cutting out the face, and joining codes of a store."""

from __future__ import annotations

import dataclasses
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from diffrig_emo.datasets.cutting import centre_window, cut, cut_aligned, move_points
from diffrig_emo.datasets.detectors.stored import zoom_points
from diffrig_emo.datasets.picture_sources import PictureSource, Texts
from diffrig_emo.datasets.pictures import decode_picture
from diffrig_emo.datasets.store import CodeStore
from diffrig_emo.io import images
from diffrig_emo.structures import FaceBatch

_TRIES = 50
"""Unusable pictures in a row that are replaced by their successors: so many mean that something else is wrong."""


class _UnusablePictureError(ValueError):
    """A picture's file is there, but cannot be read, or the face does not lie in it."""


@dataclasses.dataclass(frozen=True)
class FaceTable:
    """What is known about the faces of a data set, one row per face, in arrays that worker processes share."""

    names: Texts
    """Names of the pictures in their source."""
    label: NDArray[np.int64]
    """AffectNet emotion, -1 unknown, (n,)."""
    va: NDArray[np.float32]
    """Valence and arousal in [-1, 1], NaN unknown, (n, 2)."""
    landmarks: NDArray[np.float32]
    """Landmarks in pixels of the picture's file, NaN unknown, (n, 68, 2); or (0, 68, 2), none at all."""
    boxes: NDArray[np.float32]
    """Left, top, right, bottom of the face, NaN unknown, (n, 4); or (0, 4), none at all."""

    @classmethod
    def of_names(cls, names: Sequence[str]) -> FaceTable:
        """Faces about which nothing is known."""
        count = len(names)
        return cls(
            Texts(names),
            np.full(count, -1, np.int64),
            np.full((count, 2), np.nan, np.float32),
            np.zeros((0, 68, 2), np.float32),
            np.zeros((0, 4), np.float32),
        )

    def __len__(self) -> int:
        return len(self.names)

    def take(self, rows: NDArray[np.int64]) -> FaceTable:
        """Some of the faces, in the order given."""
        arrays = {f: getattr(self, f) for f in ("label", "va", "landmarks", "boxes")}
        taken = {name: array[rows] if len(array) else array for name, array in arrays.items()}
        return FaceTable(names=Texts([self.names[int(row)] for row in rows]), **taken)


class FaceFiles(Dataset[FaceBatch]):
    """Faces in picture files. Subclasses fill the table; this class is not for direct use.

    Items have `image`, `label`, `va`, `landmarks`, `path`, `index` and `source`, and `codes` when a store is given.

    A picture that cannot be read does not end the training: the next face that can be takes its place, always the same
    one, with all that belongs to it (`path` and `index` too), and one warning names the file. `unreadable` finds such
    files beforehand. Where fifty in a row cannot be read, or a file is gone, an error says so.

    Args:
        pictures: where the pictures lie.
        table: the faces.
        image_size: side of the pictures in pixels.
        source: name of the data set.
        image_folder: folder of the names that a store may lack, because it was prepared from within it.
    """

    def __init__(
        self,
        pictures: PictureSource,
        table: FaceTable,
        image_size: int,
        source: str,
        image_folder: str = "",
    ) -> None:
        if image_size < 1:
            raise ValueError(f"{type(self).__name__}: image_size must be at least 1, got {image_size}")
        self.image_size = image_size
        self.source = source
        self.store: CodeStore | None = None
        """Where the codes come from, if anywhere."""
        self.uncoded = 0
        """Faces left out because the store has no codes for them."""
        self._pictures = pictures
        self._image_folder = image_folder
        self._table = table
        self._rows = np.zeros(0, np.int64)
        self._stored: dict[str, NDArray[np.float32]] = {}
        self._unusable: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> FaceBatch:
        """One face."""
        try:
            number = range(len(self))[index]
        except IndexError:
            raise IndexError(f"face {index} of {self._pictures.path}, which has {len(self)}") from None
        for following in range(number, number + min(len(self), _TRIES)):
            try:
                return self._item(following % len(self))
            except _UnusablePictureError as error:
                self._warn(following % len(self), str(error))
        raise ValueError(f"{self._pictures.path}: no usable picture from face {number} on; {self._unusable[number]}")

    def unreadable(self) -> list[str]:
        """What is wrong with the pictures that cannot be read: reads every one, hours for a large data set."""
        broken = []
        for name in self.paths:
            try:
                self._pictures.read(name)
            except (ValueError, OSError) as error:
                broken.append(str(error))
        return broken

    def _describe_unreadable(self) -> list[str]:
        broken = self.unreadable()
        return [f"  unreadable: {len(broken):,}", *(f"    {text}" for text in broken)]

    def _item(self, number: int) -> FaceBatch:
        image, tform, zoom, photo_size = self._image(number)
        item = FaceBatch(
            image=image,
            label=torch.tensor(int(self._table.label[number])),
            va=torch.from_numpy(self._table.va[number].copy()),
            landmarks=self._landmarks(number, tform, zoom, photo_size),
            path=self._table.names[number],
            index=torch.tensor(number),
            source=self.source,  # type: ignore[typeddict-item]
        )
        if self.store is not None:
            item["codes"] = self.store.codes([int(self._rows[number])])
        return item

    @property
    def labels(self) -> NDArray[np.int64]:
        """Emotion of every face, -1 where it is unknown."""
        return self._table.label

    @property
    def paths(self) -> Sequence[str]:
        """Name of every face's picture, relative to the data set."""
        return self._table.names

    def _cut(self, number: int, photo: Float[Tensor, "3 height width"], zoom: float) -> tuple[Tensor, Tensor]:
        """Picture of a face, and how it lies in the photo, where no store knows.

        `zoom` is the photo's size relative to that of its file, to whose pixels the table refers.
        """
        del number, zoom
        tform = centre_window(photo.shape[1], photo.shape[2], self.image_size)
        return cut(photo, tform, self.image_size), tform

    def _photo_landmarks(self, number: int, zoom: float, photo_size: torch.Size | None) -> Tensor | None:
        """Landmarks of a face in pixels of its photo of (height, width) `photo_size`; None where they are unknown."""
        del photo_size
        if not len(self._table.landmarks):
            return None
        return zoom_points(torch.from_numpy(self._table.landmarks[number].copy()), zoom)

    def _warn(self, number: int, reason: str) -> None:
        if number not in self._unusable:
            self._unusable[number] = reason
            warnings.warn(f"{reason}. The next usable picture takes its place", stacklevel=3)

    def _select(self, rows: NDArray[np.int64]) -> None:
        """Keep some faces only. Subclasses with columns of their own extend it."""
        self._table = self._table.take(rows)

    def _use_store(self, path: str | Path) -> None:
        """Take codes, and pictures that are stored, from a code store; leave out faces that have no codes there."""
        self.store = store = CodeStore(path)
        sizes = {record["image_size"] for record in store.provenance if "image_size" in record}
        if sizes - {self.image_size}:
            raise ValueError(
                f"image_size: {store.path} was prepared for {', '.join(map(str, sorted(sizes)))} pixels, to which its "
                f"transforms refer, got {self.image_size}; give that size, or prepare the store for this one"
            )
        known = _names_of(store)
        found = np.array(
            [next((known[n] for n in self._names_in_store(i) if n in known), -1) for i in range(len(self))], np.int64
        )
        keep = np.flatnonzero(found >= 0)
        self.uncoded = len(found) - len(keep)
        if not len(keep):
            first = self._table.names[0] if len(self) else "none"
            raise ValueError(
                f"{store.path}: it has codes of none of the {len(self)} faces of {self._pictures.path}. The first is "
                f"called {first!r}; the store's are called {list(known)[:2]}. Prepare the store from that folder"
            )
        self._select(keep)
        self._rows = found[keep]
        for name in ("photo_to_aligned", "landmarks"):
            if name in store.columns:
                self._stored[name] = store.column(name)[self._rows]
        if "landmarks" in self._stored and "quality_landmarks" in store.columns:
            # Those of encoded meshes are no truth.
            self._stored["landmarks"][store.column("quality_landmarks")[self._rows] == 0] = np.nan

    def _image(self, number: int) -> tuple[Tensor, Tensor | None, float | None, torch.Size | None]:
        """Picture of a face, how it lies in the photo, and the photo's zoom and (height, width), if it was read."""
        tform = None
        if self.store is not None:
            data = self.store.image_bytes(int(self._rows[number]))
            tform = self._stored_tform(number)
            if data:
                return self._checked(decode_picture(data), number), tform, None, None
        name = self._table.names[number]
        try:
            photo = self._pictures.read(name)
            # Only a photo that is large still can have been halved.
            zoom = self._pictures.zoom(name) if 5 * photo[0].numel() > images.MAX_PIXELS else 1.0
            if tform is None:
                image, tform = self._cut(number, photo, zoom)
            else:
                image = cut_aligned(photo, tform, self.image_size)
            return image, tform, zoom, photo.shape[1:]
        except ValueError as error:
            named = str(error) if name in str(error) else f"{self._pictures.path / name}: {error}"
            raise _UnusablePictureError(named) from error

    def _checked(self, picture: Tensor, number: int) -> Tensor:
        if picture.shape[1:] != (self.image_size, self.image_size):
            raise ValueError(
                f"image_size: the pictures of {self.store and self.store.path} are {picture.shape[2]} x "
                f"{picture.shape[1]} pixels, and so are the codes' transforms; expected {self.image_size}, for face "
                f"{number}. Give image_size={picture.shape[1]}, or prepare the store at {self.image_size}"
            )
        return picture

    def _stored_tform(self, number: int) -> Tensor | None:
        tforms = self._stored.get("photo_to_aligned")
        if tforms is None or np.isnan(tforms[number]).any():
            return None
        return torch.from_numpy(tforms[number].copy())

    def _landmarks(
        self, number: int, tform: Tensor | None, zoom: float | None, photo_size: torch.Size | None
    ) -> Tensor:
        """Landmarks in pixels of the picture: those of the store, else those of the data set."""
        stored = self._stored.get("landmarks")
        if stored is not None and not np.isnan(stored[number]).any():
            return torch.from_numpy(stored[number].copy())
        points = None
        if tform is not None and len(self._table.landmarks):
            zoom = self._pictures.zoom(self._table.names[number]) if zoom is None else zoom
            points = self._photo_landmarks(number, zoom, photo_size)
        return torch.full((68, 2), torch.nan) if points is None or tform is None else move_points(tform, points)

    def _names_in_store(self, number: int) -> Iterable[str]:
        """Keys under which a store may have the face, the likeliest first."""
        name = self._table.names[number]
        yield name
        folder = self._image_folder + "/"
        if self._image_folder and name.startswith(folder):
            yield name.removeprefix(folder)
        yield (self._pictures.path / name).as_posix()


def _names_of(store: CodeStore) -> dict[str, int]:
    """Numbers of the faces with codes by key, and by path where a photo has one face only."""
    notes = [(note["key"], note.get("path", "")) for note in store.notes()]
    per_path = Counter(path for _, path in notes)
    names: dict[str, int] = {}
    for number, ((key, path), coded) in enumerate(zip(notes, store.coded, strict=True)):
        if coded:
            names[key.replace("\\", "/")] = number
            # Further faces of a photo are called "photo#1", "photo#2", ...: they are not the one that is meant.
            if path and per_path[path] == 1 and not key.startswith(f"{path}#"):
                names.setdefault(path.replace("\\", "/"), number)
    return names
