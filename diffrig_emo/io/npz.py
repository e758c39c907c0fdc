"""`.npz` files: with a note of where their arrays come from, and read in part where they are large."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.safe_pickle import read_npy_header

_NOTES = "notes"
_BLOCK = 2**23
"""Bytes read at once."""
_DAMAGE = (ValueError, TypeError, KeyError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)


class Contents(NamedTuple):
    """What a `.npz` file holds."""

    arrays: dict[str, np.ndarray]
    notes: dict[str, str]
    """What `write_npz` was told about them; empty for a file of others."""


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> None:
    """Write arrays and a note about them, such as their source and licence; the file appears when it is complete.

    Args:
        path: a name that ends in `.npz`; missing folders are made.
        arrays: by name; "notes" is taken.
        notes: in words.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_npz(f"{folder}/a.npz", {"x": np.arange(3)}, {"licence": "CC0"})
        ...     read_npz(f"{folder}/a.npz")
        Contents(arrays={'x': array([0, 1, 2])}, notes={'licence': 'CC0'})
    """
    with atomic_path(path) as temporary:
        everything: dict[str, Any] = {**arrays, _NOTES: np.array(json.dumps(dict(notes)))}
        np.savez(temporary, **everything)


def read_npz(path: str | Path) -> Contents:
    """Read a `.npz` file; pickled objects in it are refused.

    Raises:
        ValueError: when the file is truncated, damaged, another kind of file, or holds objects.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name != _NOTES}
    except _DAMAGE as error:
        raise ValueError(f"{path}: cannot be read as a .npz file ({error}); download it again") from error
    return Contents(arrays, read_notes(path))


def read_notes(path: str | Path) -> dict[str, str]:
    """Read only what `write_npz` was told about the arrays; empty for a file of others.

    Raises:
        ValueError: when the file is truncated or damaged.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            notes = json.loads(str(file[_NOTES])) if _NOTES in file.files else {}
        return {str(name): str(value) for name, value in notes.items()}
    except (*_DAMAGE, AttributeError) as error:
        raise ValueError(f"{path}: its notes cannot be read ({error}); convert it again") from error


def read_array(path: str | Path, name: str) -> np.ndarray:
    """Read one array of a `.npz` file.

    Raises:
        ValueError: when the file is truncated or damaged, or has no array of numbers under that name.
    """
    try:
        with Path(path).open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return np.asarray(file[name])
    except _DAMAGE as error:
        raise ValueError(f"{path}: its {name!r} cannot be read ({error}); download it again") from error


def is_npz(path: str | Path) -> bool:
    """Whether a file is of the kind of `.npz`, whatever its name."""
    with Path(path).open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def array_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the arrays in a `.npz` file, of which only the headers are read.

    Raises:
        ValueError: when the file is truncated, damaged or another kind of file.
    """
    try:
        with zipfile.ZipFile(path) as file:
            shapes = {}
            for name in file.namelist():
                with file.open(name) as stream:
                    shapes[name.removesuffix(".npy")] = read_npy_header(stream)[0]
            return shapes
    except _DAMAGE as error:
        raise ValueError(f"{path}: cannot be read as a .npz file ({error}); download it again") from error


def read_columns(path: str | Path, name: str, rows: np.ndarray, n_columns: int) -> np.ndarray:
    """Read a part of one array, taken as a matrix whose last axis is the columns, a few megabytes at a time.

    Args:
        path: the `.npz` file.
        name: of the array in it.
        rows: which rows, each at most once, in any order.
        n_columns: how many columns, from the first.

    Returns:
        float32 of shape (n_columns, len(rows)): a row for each column of the file.

    Raises:
        ValueError: when the file is truncated or damaged, or the array is of no real numbers.
    """
    part = np.empty((n_columns, len(rows)), np.float32)
    order = np.argsort(rows)
    ascending = rows[order]
    try:
        with zipfile.ZipFile(path) as file, file.open(f"{name}.npy") as stream:
            shape, column_by_column, dtype = read_npy_header(stream)
            if dtype.kind not in "fiu":
                raise ValueError(f"its {name!r} is of {dtype} instead of numbers")
            if column_by_column:
                # The last axis is the slowest, and all others run the other way round than the rows are counted.
                for column in range(n_columns):
                    block = _read(stream, dtype, int(np.prod(shape[:-1])))
                    part[column] = block.reshape(shape[:-1], order="F").ravel()[rows]
            else:
                for start, block in _row_blocks(stream, dtype, shape):
                    low, high = np.searchsorted(ascending, (start, start + len(block)))
                    part[:, order[low:high]] = block[ascending[low:high] - start, :n_columns].T
    except _DAMAGE as error:
        raise ValueError(f"{path}: cannot be read ({error}); download it again") from error
    return part


def _row_blocks(stream: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> Iterator[tuple[int, np.ndarray]]:
    n_rows, width = int(np.prod(shape[:-1])), shape[-1]
    at_once = max(1, _BLOCK // (width * dtype.itemsize))
    for start in range(0, n_rows, at_once):
        count = min(at_once, n_rows - start)
        yield start, _read(stream, dtype, count * width).reshape(count, width)


def _read(stream: IO[bytes], dtype: np.dtype[Any], count: int) -> np.ndarray:
    data = stream.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise EOFError("it ends within an array")
    return np.frombuffer(data, dtype)
