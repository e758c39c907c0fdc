"""FLAME's files, official or converted, read without trusting them: arrays of checked names, shapes and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffrig_emo.io.npz import is_npz, read_npz
from diffrig_emo.io.safe_pickle import load_object_npy, load_pickle
from diffrig_emo.utils.assets import identify

N_SHAPE_TOTAL, N_EXP_TOTAL = 300, 100
"""Columns of the official blendshape basis: first identity, then expression."""
N_JOINTS = 5
"""Root, neck, jaw, left eye, right eye."""
_JAW = 2
_MARKS = ("static", "dynamic", "full")


class ArrayTable:
    """Arrays of one file by name, each checked as it is taken out.

    Args:
        path: the file, for messages.
        content: what was read from it.
        space: the code space that the file is known to belong to.
    """

    def __init__(self, path: Path, content: Any, space: str | None = None) -> None:
        if not isinstance(content, dict):
            raise ValueError(f"{path}: expected a dictionary of arrays, got {type(content).__name__}")
        self.path, self.content, self.space = path, content, space

    def floats(self, key: str, shape: tuple[int | None, ...], last: list[int] | None = None) -> Tensor:
        """Take out an array as float32.

        Args:
            key: its name.
            shape: what it must be; None stands for any size.
            last: which entries along the last axis; None takes all.
        """
        array = self._array(key, shape)
        if array.dtype.kind != "f" or not np.isfinite(array).all():
            raise ValueError(f"{self.path}, {key!r}: expected finite numbers, got {array.dtype} with others among them")
        return torch.from_numpy((array if last is None else array[..., last]).astype(np.float32, order="C"))

    def integers(self, key: str, shape: tuple[int | None, ...], below: int | None = None) -> Tensor:
        """Take out an array as int64, optionally of indices below some number."""
        array = self._array(key, shape)
        # Whole floats pass, because chumpy turns whatever it wraps into floats.
        if array.dtype.kind not in "iuf" or not (array == np.rint(array)).all():
            raise ValueError(f"{self.path}, {key!r}: expected whole numbers, got {array.dtype} with others among them")
        if below is not None and not (array.min() >= 0 and array.max() < below):
            raise ValueError(f"{self.path}, {key!r}: expected 0..{below - 1}, got {array.min()}..{array.max()}")
        return torch.from_numpy(array.astype(np.int64, order="C"))

    def _array(self, key: str, shape: tuple[int | None, ...]) -> np.ndarray:
        if key not in self.content:
            raise ValueError(f"{self.path}: expected an array named {key!r}, got only {sorted(self.content)}")
        array = np.asarray(self.content[key])
        fits = array.ndim == len(shape) and all(w in (None, g) for w, g in zip(shape, array.shape, strict=True))
        if not fits:
            wanted = ", ".join("n" if size is None else str(size) for size in shape)
            raise ValueError(f"{self.path}, {key!r}: expected shape ({wanted}), got {array.shape}")
        return array


def read_model(path: Path) -> ArrayTable:
    """Read a FLAME model: `generic_model.pkl`, `flame2023.pkl`, `flame2023_Open.pkl`, or what was converted of them.

    The version, and with it the code space, is known by the file's digest; for files that others have saved anew, by
    what only FLAME 2023 Open has in it, or by the name.

    Raises:
        RefusedPickleError: when the file wants to run code.
        ValueError: when it is damaged, or is FLAME without a jaw.
    """
    if is_npz(path):
        content, notes = read_npz(path)
        space = notes.get("space") or _named_space(path)
    else:
        content = load_pickle(path)
        known = identify(path)
        opened = isinstance(content, dict) and "supr_expression_metadata" in content
        space = (known.space if known else None) or ("flame2023_open" if opened else _named_space(path))
    table = ArrayTable(path, content, space)
    if _has_no_jaw(table):
        raise ValueError(
            f"{path}: expected a FLAME with a jaw, got one without: there, expressions open the mouth, and the jaw "
            "pose that every code carries means nothing. Take generic_model.pkl of FLAME 2020 (for codes of DECA and "
            "EMOCA), or flame2023.pkl of FLAME 2023"
        )
    return table


def read_landmark_embedding(path: Path) -> ArrayTable:
    """Read `landmark_embedding.npy`, or what was converted of it.

    Raises:
        RefusedPickleError: when the file wants to run code.
        ValueError: when it is damaged.
    """
    return ArrayTable(path, read_npz(path).arrays if is_npz(path) else load_object_npy(path))


def whole_model(table: ArrayTable) -> dict[str, np.ndarray]:
    """All that a FLAME model uses, under the official names, checked; float32 and int64.

    Raises:
        ValueError: when an array is missing, or has another shape or impossible values.
    """
    n_vertices = len(table.floats("v_template", (None, 3)))
    floats = {
        "v_template": (n_vertices, 3),
        "shapedirs": (n_vertices, 3, N_SHAPE_TOTAL + N_EXP_TOTAL),
        "posedirs": (n_vertices, 3, (N_JOINTS - 1) * 9),
        "J_regressor": (N_JOINTS, n_vertices),
        "weights": (n_vertices, N_JOINTS),
    }
    integers = {"f": table.integers("f", (None, 3), below=n_vertices)}
    integers["kintree_table"] = table.integers("kintree_table", (2, N_JOINTS))
    tensors = {key: table.floats(key, shape) for key, shape in floats.items()} | integers
    return {key: tensor.numpy() for key, tensor in tensors.items()}


def whole_landmark_embedding(table: ArrayTable) -> dict[str, np.ndarray]:
    """The six arrays of a landmark embedding, under the official names.

    Raises:
        ValueError: when one is missing.
    """
    names = [f"{mark}_lmk_{what}" for mark in _MARKS for what in ("faces_idx", "bary_coords")]
    missing = [name for name in names if name not in table.content]
    if missing:
        raise ValueError(f"{table.path}: expected an array named {missing[0]!r}, got only {sorted(table.content)}")
    return {name: np.asarray(table.content[name]) for name in names}


def choose_space(table: ArrayTable, wanted: str | None) -> str:
    """The code space of a model: the one asked for, else the one that the file is known to belong to.

    Raises:
        ValueError: when another one of FLAME's spaces is asked for.
    """
    if table.space is not None and wanted is not None and wanted != table.space and wanted.startswith("flame20"):
        raise ValueError(
            f"space: {table.path} is a model of space {table.space!r}, got {wanted!r}. The bases of FLAME 2020 and "
            "2023 differ, so codes of one give another face in the other; for codes of DECA and EMOCA, take "
            "generic_model.pkl of FLAME 2020"
        )
    return wanted or table.space or "flame2020"


def _named_space(path: Path) -> str | None:
    name = path.stem.lower()
    if "flame2023" not in name:
        return None
    return "flame2023_open" if "open" in name else "flame2023"


def _has_no_jaw(table: ArrayTable) -> bool:
    weights = np.asarray(table.content.get("weights", 1.0))
    turned_by_jaw = weights.ndim != 2 or (weights.shape[1] > _JAW and bool(weights[:, _JAW].any()))
    return "no_jaw" in table.path.stem.lower() or not turned_by_jaw
