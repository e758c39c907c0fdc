"""Read arrays out of pickles that we did not write, without running what else they may carry.

A pickle is a program: it may call any function it names. Here it may name a handful of constructors of
arrays, sparse matrices and tensors; everything else is refused by name.
"""

from __future__ import annotations

import codecs
import collections
import copyreg
import io
import pickle
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.sparse
import torch


class RefusedPickleError(ValueError):
    """A pickle named something that is no part of an array."""


def load_pickle(path: str | Path) -> Any:
    """Read a pickle of arrays in plain containers, such as FLAME's `generic_model.pkl`.

    Pickles of Python 2 are understood. Chumpy arrays and scipy CSC matrices come back as dense NumPy
    arrays (chumpy need not be installed), torch tensors as tensors on the CPU.

    Args:
        path: the file.

    Returns:
        What was pickled: dicts, lists, numbers, strings, arrays, tensors.

    Raises:
        RefusedPickleError: naming the first thing in the file that is no part of an array.
        ValueError: when the file is truncated or no pickle.
    """
    with Path(path).open("rb") as file:
        return _load(file, str(path))


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
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[np.lib.format.read_magic(file)]
            shape, _, dtype = read_header(file)
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}: expected a .npy file, got something else or a part of one ({error})") from error
        if dtype != np.dtype(object) or shape != ():
            raise ValueError(f"{path}: expected a .npy file of one pickled object, got {dtype} of shape {shape}")
        array = _load(file, str(path))
    if not isinstance(array, np.ndarray) or array.shape != ():
        raise ValueError(f"{path}: expected one pickled object, got {type(array).__name__}")
    return _plain(array.item())


class _ChumpyArray:
    """Stands in for `chumpy.ch.Ch`, whose leaves keep their values under the state key `x`."""

    x: Any = None

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        if not isinstance(state.get("x"), np.ndarray):
            raise pickle.UnpicklingError("a chumpy object without values of its own")
        self.x = state["x"]


class _CscMatrix:
    """Stands in for scipy's CSC matrix, whose pickled state changed its names over the years."""

    dense: Any = None

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        shape = state.get("_shape", state.get("shape"))
        parts = (state["data"], state["indices"], state["indptr"])
        self.dense = scipy.sparse.csc_matrix(parts, shape=shape).toarray()


def _load_storage(data: bytes) -> Any:
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


# NumPy's reconstruction function, without touching NumPy's private modules: their names changed in 2.0.
_reconstruct_array = np.ndarray(0).__reduce__()[0]

_ALLOWED: dict[tuple[str, str], Any] = {
    ("builtins", "object"): object,
    ("builtins", "set"): set,
    ("copyreg", "_reconstructor"): copyreg._reconstructor,  # type: ignore[attr-defined]
    ("_codecs", "encode"): codecs.encode,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct_array,
    ("numpy.core.numeric", "_frombuffer"): np.zeros(1).__reduce_ex__(5)[0],
    ("scipy.sparse.csc", "csc_matrix"): _CscMatrix,
    ("chumpy.ch", "Ch"): _ChumpyArray,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch.storage", "_load_from_bytes"): _load_storage,
}
# Names of the same modules in other Pythons, NumPys and scipys.
_RENAMED = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
    "scipy.sparse._csc": "scipy.sparse.csc",
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[_RENAMED.get(module, module), name]
        except KeyError:
            raise RefusedPickleError(f"it wants to use {module}.{name}") from None


_DAMAGE = (
    pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError,
    OverflowError, MemoryError, RuntimeError, struct.error,
)  # fmt: skip


def _load(file: BinaryIO, name: str) -> Any:
    try:
        return _plain(_ArrayUnpickler(file, encoding="latin1").load())
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


def _plain(value: Any) -> Any:
    """Replace the stand-ins in nested containers by their arrays."""
    if isinstance(value, _ChumpyArray):
        return value.x
    if isinstance(value, _CscMatrix):
        return value.dense
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value
