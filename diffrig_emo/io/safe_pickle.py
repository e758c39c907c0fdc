"""Read arrays out of pickles that we did not write, without running what else they may carry.

A pickle is a program: it may call any function that it names. Here every name leads to a small stand-in of ours that
only takes notes; arrays and tensors are made from the notes, once their sizes are known to fit the bytes in the file.
NumPy's and torch's own constructors are not safe to be called by a stranger: `numpy.ndarray` with a buffer and the
dtype `object` follows any address it is given. Names beyond the few that arrays need are refused.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, ClassVar

import numpy as np
import torch
from torch import Tensor

_LARGEST_DENSE = 2**24
"""Entries of a sparse matrix written out; FLAME's has 25 thousand."""


class RefusedPickleError(ValueError):
    """A pickle named something that is no part of an array."""


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of arrays in plain containers, such as FLAME's `generic_model.pkl`.

    Pickles of Python 2 are understood. Chumpy arrays and scipy CSC matrices come back as dense NumPy
    arrays (chumpy need not be installed), torch tensors as tensors on the CPU, wherever they were.

    Args:
        path: the file.

    Returns:
        What was pickled: dicts, lists, numbers, strings, arrays (read-only), tensors.

    Raises:
        RefusedPickleError: naming the first thing in the file that is no part of an array.
        ValueError: when the file is truncated or no pickle.
    """
    with Path(path).open("rb") as file:
        return _load(file, str(path))


def loads_pickle(data: bytes, name: str) -> Any:
    """Read a pickle in memory, such as a value of a data base, as `load_pickle` reads a file.

    Args:
        data: the pickle.
        name: what to call it in an error message.

    Raises:
        RefusedPickleError: naming the first thing in the data that is no part of an array.
        ValueError: when the data are truncated or no pickle.
    """
    return _load(io.BytesIO(data), name)


def load_object_npy(path: str | Path) -> Any:
    """Read a `.npy` file that holds one pickled object, such as FLAME's `landmark_embedding.npy`.

    Args:
        path: the file.

    Returns:
        The object, as `load_pickle` would give it.

    Raises:
        RefusedPickleError: naming the first thing in the file that is no part of an array.
        ValueError: when the file is truncated, no `.npy`, or holds more than one object.
    """
    with Path(path).open("rb") as file:
        try:
            shape, _, dtype = read_npy_header(file)
        except ValueError as error:
            raise ValueError(f"{path}: expected a .npy file, got something else or a part of one ({error})") from error
        if dtype != np.dtype(object) or shape != ():
            raise ValueError(f"{path}: expected a .npy file of one pickled object, got {dtype} of shape {shape}")
        return _load(file, str(path))


def read_npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read a `.npy` header: shape, whether the first axis is the fastest, dtype.

    Raises:
        ValueError: when there is none.
    """
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"a .npy header of version {version}")


class _DType:
    """Stands in for `numpy.dtype`: numbers and text. Structures are refused: their pickled layout could lie."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        if not re.fullmatch(r"[biufcSUO]\d{0,5}", code):
            raise pickle.UnpicklingError(f"an array of type {code!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Sequence[Any]) -> None:
        order, structure = state[1], state[2:5]
        if order not in ("<", ">", "|", "=") or any(part is not None for part in structure):
            raise pickle.UnpicklingError("an array of structures")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """Stands in for `numpy.ndarray`."""

    value: Any = None

    def __setstate__(self, state: Sequence[Any]) -> None:
        shape, dtype, is_fortran, data = state[-4:]
        self.value = _array(data, dtype, shape, "F" if is_fortran else "C")


class _ChumpyArray:
    """Stands in for `chumpy.ch.Ch`, whose leaves keep their values under the state key `x`."""

    value: Any = None

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        if not isinstance(state.get("x"), _Array):
            raise pickle.UnpicklingError("a chumpy object without values of its own")
        self.value = state["x"].value


class _CscMatrix:
    """Stands in for scipy's CSC matrix, whose pickled state changed its names over the years."""

    value: Any = None

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        n_rows, n_columns = state.get("_shape", state.get("shape"))
        data, rows, starts = (state[key].value for key in ("data", "indices", "indptr"))
        counts = np.diff(starts)
        fits = starts.shape == (n_columns + 1,) and starts[0] == 0 and starts[-1] == len(data) and (counts >= 0).all()
        if not fits or rows.shape != data.shape or (rows < 0).any() or n_rows * n_columns > _LARGEST_DENSE:
            raise pickle.UnpicklingError(f"a sparse matrix of shape ({n_rows}, {n_columns}) with other contents")
        self.value = np.zeros((n_rows, n_columns), data.dtype)
        np.add.at(self.value, (rows, np.repeat(np.arange(n_columns), counts)), data)


class _Storage:
    """Stands in for a torch storage: all its numbers in a row."""

    def __init__(self, data: bytes) -> None:
        storage = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if not isinstance(storage, torch.storage.TypedStorage):
            raise pickle.UnpicklingError(f"a tensor made of {type(storage).__name__}")
        numbers = storage._untyped_storage
        empty = torch.empty(0, dtype=storage.dtype)
        self.flat = empty.set_(numbers, 0, (numbers.nbytes() // empty.element_size(),), (1,))


def _array(data: Any, dtype: _DType, shape: Sequence[int], order: Any) -> Any:
    if dtype.dtype.hasobject:
        if tuple(shape) != () or not isinstance(data, list) or len(data) != 1:
            raise pickle.UnpicklingError("an array of objects")
        return data[0]
    # Python 2 wrote bytes as text.
    numbers = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(numbers, bytes | bytearray):
        raise pickle.UnpicklingError(f"an array made of {type(data).__name__}")
    # reshape refuses sizes that the bytes do not fill, so no shape makes more memory than the file has.
    flat = np.frombuffer(numbers, dtype.dtype) if numbers else np.empty(0, dtype.dtype)
    array = flat.reshape(_counts(shape), order=order)
    array.flags.writeable = False
    return array


def _counts(values: Sequence[int]) -> tuple[int, ...]:
    if not all(isinstance(value, int) and value >= 0 for value in values):
        raise pickle.UnpicklingError(f"an array of shape {values}")
    return tuple(values)


def _blank_array(kind: Any, *_: Any) -> _Array:
    if kind is not _Array:
        raise pickle.UnpicklingError("an array of another class")
    return _Array()


def _array_from_buffer(data: Any, dtype: _DType, shape: Sequence[int], order: str, axes: Any = None) -> _Array:
    made = _Array()
    if order == "K":
        made.value = _array(data, dtype, shape, "C").transpose(axes)
    else:
        made.value = _array(data, dtype, shape, order)
    return made


def _blank_object(kind: Any, base: Any, state: Any) -> Any:
    if kind not in (_ChumpyArray, _CscMatrix) or base is not object or state is not None:
        raise pickle.UnpicklingError("an object of another class")
    return kind()


def _encode(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"text encoded as {encoding!r}")
    return text.encode("latin1")


def _tensor(storage: _Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any) -> Tensor:
    # A stride of zero could make a tensor of any size from one number.
    if math.prod(_counts(size)) > len(storage.flat):
        raise pickle.UnpicklingError(f"a tensor of shape {tuple(size)} from {len(storage.flat)} numbers")
    return storage.flat.as_strided(_counts(size), _counts(stride), *_counts([offset]))


_ALLOWED: dict[tuple[str, str], Any] = {
    ("builtins", "object"): object,
    ("builtins", "set"): set,
    ("copyreg", "_reconstructor"): _blank_object,
    ("_codecs", "encode"): _encode,
    # A dict has no attributes of its own that a pickle could set.
    ("collections", "OrderedDict"): dict,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _blank_array,
    ("numpy.core.numeric", "_frombuffer"): _array_from_buffer,
    ("scipy.sparse.csc", "csc_matrix"): _CscMatrix,
    ("chumpy.ch", "Ch"): _ChumpyArray,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _Storage,
}
# Names of the same modules in other Pythons, NumPys and scipys.
_RENAMED = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
    "scipy.sparse._csc": "scipy.sparse.csc",
}
_WITH_STATE = (_Array, _DType, _ChumpyArray, _CscMatrix)


class _WholeLines:
    """A file for the unpickler, which would take a name cut short by the end of the file for a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.read, self.readinto = file.read, file.readinto  # type: ignore[attr-defined]

    def readline(self) -> bytes:
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("it ends within a name")
        return line


class _ArrayUnpickler(pickle._Unpickler):
    """Python's own unpickler in Python, whose single instructions can be restricted.

    It takes no longer: what is in these files is a few large blocks. The one in C makes room for as many objects as
    the pickle says it will remember, up to 64 GB.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[_RENAMED.get(module, module), name]
        except KeyError:
            raise RefusedPickleError(f"it wants to use {module}.{name}") from None

    def load_build(self) -> None:
        # Elsewhere the instruction would set attributes, even of functions and classes.
        built = self.stack[-2]  # type: ignore[attr-defined]
        if not isinstance(built, _WITH_STATE):
            raise RefusedPickleError(f"it wants to change a {type(built).__name__}")
        super().load_build()  # type: ignore[misc]

    dispatch[pickle.BUILD[0]] = load_build


_DAMAGE = (
    pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError,
    OverflowError, MemoryError, RuntimeError, struct.error,
)  # fmt: skip


def _load(file: BinaryIO, name: str) -> Any:
    try:
        return _plain(_ArrayUnpickler(_WholeLines(file), encoding="latin1").load(), {})
    except RefusedPickleError as error:
        raise RefusedPickleError(
            f"{name}: refused, because {error}, which is no part of an array. This is not the expected file, "
            "or someone tampered with it; download it again from its official place"
        ) from error
    except _DAMAGE as error:
        raise ValueError(
            f"{name}: expected a complete pickle of arrays, got a truncated or damaged one "
            f"({type(error).__name__}: {error}); download it again"
        ) from error


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Replace the stand-ins in nested containers by their arrays; each object once, however often it is named."""
    if id(value) not in done:
        done[id(value)] = _replaced(value, done)
    return done[id(value)]


def _replaced(value: Any, done: dict[int, Any]) -> Any:
    if isinstance(value, _Array | _ChumpyArray | _CscMatrix):
        return _plain(value.value, done)
    if isinstance(value, dict):
        return {key: _plain(item, done) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, done) for item in value)
    return value
