"""One person's mean shape code, as DiffusionRig's stage two writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.io.npz import is_npz, read_array
from diffrig_emo.io.safe_pickle import load_pickle

MEAN_SHAPE = "mean_shape"
"""Name of the array in a converted file."""


def read_mean_shape(path: str | Path) -> Float[Tensor, " n_shape"]:
    """Read `mean_shape.pkl`, a tensor that was pickled on a GPU as a rule, or what was converted of it.

    Args:
        path: the file.

    Returns:
        The shape code, float32 on the CPU.

    Raises:
        RefusedPickleError: when the file wants to run code.
        ValueError: when it is damaged or holds something else.
    """
    value = read_array(path, MEAN_SHAPE) if is_npz(path) else load_pickle(path)
    shape = torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value
    if (
        not isinstance(shape, Tensor)
        or shape.ndim not in (1, 2)
        or shape.numel() != shape.shape[-1]
        or not shape.isfinite().all()
    ):
        got = f"{tuple(shape.shape)} of {shape.dtype}" if isinstance(shape, Tensor) else type(value).__name__
        raise ValueError(f"{path}: expected one shape code, of shape (1, n_shape), got {got}")
    return shape.reshape(-1).float().clone()
