"""What a code store looks like on disk, and how its bytes are reached.

A store is an HDF5 file of four plain datasets, open to every HDF5 tool:

    faces    (N,) compound   one row per face: codes, transforms, labels, quality, where its bytes lie
    notes    (.,) uint8      JSON of each face: its key, and path, source, identity or licence as far as known
    images   (.,) uint8      JPEG or PNG of each face, if stored
    skipped  (.,) uint8      JSON {key: reason} of what could not be stored

All four are contiguous, so HDF5 only has to say where they begin; rows and pictures are then read and written at
their places by the operating system. No HDF5 handle has to survive a fork, no reader locks the file, a row costs
microseconds, and a full disk is an ordinary error instead of a file that HDF5 can no longer close.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

FORMAT = "diffrig_emo code store"
VERSION = 1

CODES = ("shape", "tex", "exp", "pose", "cam", "light", "detail", "eye_pose", "translation", "tform")
"""Columns of `FaceCodes`; the first six are always there together."""

_ALWAYS: list[tuple[str, str, tuple[int, ...]]] = [
    ("label", "<i4", ()),
    ("va", "<f4", (2,)),
    ("note_start", "<u8", ()),
    ("note_size", "<u4", ()),
    ("image_start", "<u8", ()),
    ("image_size", "<u4", ()),
    ("image_crc", "<u4", ()),
]
_SECTIONS = ("notes", "images", "skipped")
_BLOCK = 1024
"""Rows read at a time when going through a whole store."""

Rows = NDArray[np.void]


def row_type(columns: Mapping[str, tuple[int, ...]]) -> np.dtype[np.void]:
    """Row of a store that has, besides the fixed columns, these float32 columns (name to shape)."""
    return np.dtype([(name, "<f4", shape) for name, shape in columns.items()] + _ALWAYS)


def columns_of(dtype: np.dtype[np.void]) -> dict[str, tuple[int, ...]]:
    """The float32 columns beyond the fixed ones, with their shapes."""
    fixed = {name for name, _, _ in _ALWAYS}
    return {name: dtype[name].shape for name in dtype.names or () if name not in fixed}


def empty_rows(count: int, dtype: np.dtype[np.void]) -> Rows:
    """Rows in which everything is unknown: NaN, label -1, no picture."""
    rows = np.zeros(count, dtype)
    for name in (*columns_of(dtype), "va"):
        rows[name] = np.nan
    rows["label"] = -1
    return rows


def is_coded(rows: Rows) -> NDArray[np.bool_]:
    """Which rows hold codes."""
    if "cam" not in (rows.dtype.names or ()):
        return np.zeros(len(rows), bool)
    coded: NDArray[np.bool_] = ~np.isnan(rows["cam"][:, 0])
    return coded


def without_mesh_landmarks(rows: Rows) -> NDArray[np.float32]:
    """Landmarks of the photos, (n, 68, 2), of rows that have such a column; NaN where they are the encoded mesh's."""
    landmarks: NDArray[np.float32] = rows["landmarks"].copy()
    if "quality_landmarks" in (rows.dtype.names or ()):
        landmarks[rows["quality_landmarks"] == 0] = np.nan
    return landmarks


@dataclasses.dataclass(frozen=True)
class About:
    """What holds for all faces of a store."""

    space: str = ""
    """Name of the code space; empty while no face has codes."""
    provenance: tuple[Mapping[str, Any], ...] = ()
    """One record for each way that faces came in: encoder, checksums of its assets, library version, ..."""
    mean_shape: NDArray[np.float32] | None = None
    """Shape code shared by an album, (n_shape,)."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where everything lies in one file."""

    dtype: np.dtype[np.void]
    num_faces: int
    sizes: Mapping[str, int]
    """Bytes of each section."""
    offsets: Mapping[str, int]
    """First byte of `faces` and of each section in the file."""
    about: About


def create_store(
    path: Path, dtype: np.dtype[np.void], num_faces: int, sizes: Mapping[str, int], about: About
) -> Layout:
    """Make a file whose datasets have their places, but not yet their content."""
    needed = num_faces * dtype.itemsize + sum(sizes.values()) + 2**20
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise disk_full(path, f"it needs {needed / 2**20:,.0f} MiB, {free / 2**20:,.0f} MiB are free")
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    types = {"faces": h5py.h5t.py_create(dtype, logical=True)} | dict.fromkeys(_SECTIONS, h5py.h5t.STD_U8LE)
    try:
        _write_header(path, types, num_faces, sizes, about, properties)
    except (OSError, RuntimeError) as error:
        raise disk_full(path, str(error).partition(", filename")[0]) from error
    return read_layout(path)


def _write_header(
    path: Path,
    types: Mapping[str, Any],
    num_faces: int,
    sizes: Mapping[str, int],
    about: About,
    properties: h5py.h5p.PropDCID,
) -> None:
    with h5py.File(path, "w", libver="v110") as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, "space": about.space})
        file.attrs["provenance"] = json.dumps(list(about.provenance))
        if about.mean_shape is not None:
            file.attrs["mean_shape"] = about.mean_shape.astype("<f4")
        for name, kind in types.items():
            count = num_faces if name == "faces" else sizes[name]
            h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple((count,)), properties)


def read_layout(path: Path) -> Layout:
    """Read where everything lies.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is truncated, damaged, or no code store.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such code store; `diffrig-emo prepare` or `import-lmdb` makes one")
    try:
        with h5py.File(path, "r", locking=False) as file:
            found = file.attrs.get("format")
            if found != FORMAT or file.attrs["version"] != VERSION:
                raise ValueError(
                    f"{path}: expected a {FORMAT} of version {VERSION}, got an HDF5 file of format {found!r}, version "
                    f"{file.attrs.get('version')}; make the store again, or read it with the library that wrote it"
                )
            datasets = {name: file[name] for name in ("faces", *_SECTIONS)}
            mean_shape = file.attrs.get("mean_shape")
            return Layout(
                dtype=datasets["faces"].dtype,
                num_faces=len(datasets["faces"]),
                sizes={name: len(datasets[name]) for name in _SECTIONS},
                offsets={name: dataset.id.get_offset() or 0 for name, dataset in datasets.items()},
                about=About(str(file.attrs["space"]), tuple(json.loads(file.attrs["provenance"])), mean_shape),
            )
    except (OSError, KeyError, RuntimeError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path} ({path.stat().st_size:,} bytes): expected a complete code store, got a truncated, damaged or "
            f"other file; copy it again or make it again. HDF5 says: {reason}"
        ) from error


def disk_full(path: Path, reason: str) -> OSError:
    """The error of every write that finds no room."""
    return OSError(
        errno.ENOSPC,
        f"{path}: no room on the disk ({reason}). What was written before is complete; free some space and run the "
        "same command again, it goes on from there",
    )


class StoreFile:
    """Bytes of one store, reached by position. A context manager; also closed when collected.

    Args:
        path: the file.
        layout: its layout; None reads it.
        writable: open for writing too.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no store, or is not the file that `layout` was read from.
    """

    def __init__(self, path: Path, layout: Layout | None = None, writable: bool = False) -> None:
        self.path = path
        self.layout = layout if layout is not None else read_layout(path)
        self._descriptor = os.open(path, os.O_RDWR if writable else os.O_RDONLY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; once is enough."""
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        if descriptor >= 0:
            os.close(descriptor)

    def rows(self, start: int, count: int) -> Rows:
        """Rows `start ... start + count - 1`."""
        size = self.layout.dtype.itemsize
        return np.frombuffer(self._read(self.layout.offsets["faces"] + start * size, count * size), self.layout.dtype)

    def blocks(self) -> Iterator[tuple[int, Rows]]:
        """All rows, some at a time, each time with the number of the first."""
        for start in range(0, self.layout.num_faces, _BLOCK):
            yield start, self.rows(start, min(_BLOCK, self.layout.num_faces - start))

    def note(self, row: np.void) -> dict[str, Any]:
        """The note of a face: its `key`, and whatever else is known."""
        data = self.note_bytes(row)
        try:
            note: dict[str, Any] = json.loads(data)
        except ValueError as error:
            raise self._damaged(f"a note that reads {bytes(data[:20])!r}") from error
        return note

    def note_bytes(self, row: np.void) -> bytearray:
        """The note as it is stored."""
        return self.section("notes", int(row["note_start"]), int(row["note_size"]))

    def image_bytes(self, row: np.void) -> bytearray:
        """The encoded picture of a face; empty when none is stored."""
        return self.section("images", int(row["image_start"]), int(row["image_size"]))

    def skipped(self) -> dict[str, str]:
        """Why what was skipped could not be stored, by key."""
        data = self.section("skipped", 0, self.layout.sizes["skipped"])
        return dict(json.loads(data)) if data else {}

    def section(self, name: str, start: int, size: int) -> bytearray:
        """Some bytes of `notes`, `images` or `skipped`."""
        if start + size > self.layout.sizes[name]:
            raise self._damaged(f"a face that points beyond its {name}")
        return self._read(self.layout.offsets[name] + start, size)

    def write_rows(self, start: int, rows: Rows) -> None:
        """Write rows from number `start` on."""
        self._write(self.layout.offsets["faces"] + start * self.layout.dtype.itemsize, rows.tobytes())

    def write_section(self, name: str, start: int, data: bytes | bytearray) -> None:
        """Write some bytes of `notes`, `images` or `skipped`."""
        self._write(self.layout.offsets[name] + start, data)

    def sync(self) -> None:
        """Return when everything written is on the disk."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise disk_full(self.path, str(error)) from error

    def _read(self, offset: int, size: int) -> bytearray:
        data = bytearray(os.pread(self._descriptor, size, offset)) if size else bytearray()
        while len(data) < size:  # more than 2 GiB come in pieces
            more = os.pread(self._descriptor, size - len(data), offset + len(data))
            if not more:
                raise self._damaged(f"{size - len(data):,} bytes missing at its end")
            data += more
        return data

    def _write(self, offset: int, data: bytes | bytearray) -> None:
        rest = memoryview(data)
        try:
            while rest:
                written = os.pwrite(self._descriptor, rest, offset)
                rest, offset = rest[written:], offset + written
        except OSError as error:
            raise disk_full(self.path, str(error)) from error

    def _damaged(self, what: str) -> ValueError:
        return ValueError(f"{self.path}: expected a complete code store, got {what}; copy it again or make it again")


def join_columns(dtypes: Sequence[np.dtype[np.void]]) -> dict[str, tuple[int, ...]]:
    """Columns of a store that takes in rows of all these types.

    Raises:
        ValueError: when a column has two shapes, or some have other code columns than others.
    """
    joined: dict[str, tuple[int, ...]] = {}
    coded = None
    for dtype in dtypes:
        columns = columns_of(dtype)
        codes = {name: shape for name, shape in columns.items() if name in CODES}
        if coded is not None and codes and codes != coded:
            raise ValueError(f"codes: expected the fields and sizes {coded} as in the other faces, got {codes}")
        coded = codes or coded
        for name, shape in columns.items():
            if joined.setdefault(name, shape) != shape:
                raise ValueError(f"{name}: expected the shape {joined[name]} as in the other faces, got {shape}")
    return joined
