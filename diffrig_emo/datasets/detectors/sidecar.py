"""Landmarks that lie beside a photograph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
import torch
from jaxtyping import Float
from torch import Tensor


def read_landmarks(photo_path: str | Path) -> Float[Tensor, "68 2"] | None:
    """Read the 68 landmarks of a photo from the file of the same name that ends in `.txt` or `.mat`, if there is one.

    The text has a line "x y" per point; the MATLAB file holds `pt3d_68` (2 or 3 rows by 68), as 300W-LP has it.

    Args:
        photo_path: path of the photograph.

    Returns:
        Pixels of the photo, integers at pixel centres; None when there is no such file.

    Raises:
        ValueError: when the file holds something else.
    """
    text, matlab = (Path(photo_path).with_suffix(suffix) for suffix in (".txt", ".mat"))
    if text.is_file():
        path = text
        try:
            points = np.loadtxt(text, delimiter="," if "," in text.read_text(encoding="utf-8") else None, ndmin=2)
        except ValueError as error:
            raise ValueError(f"{path}: expected 68 lines 'x y', got something else ({error})") from error
    elif matlab.is_file():
        path = matlab
        try:
            points = np.asarray(scipy.io.loadmat(str(matlab), variable_names=["pt3d_68"])["pt3d_68"], dtype=float).T
        except Exception as error:  # of a damaged file, scipy raises whatever it stumbles over
            raise ValueError(f"{path}: expected a MATLAB file with an array pt3d_68 ({error})") from error
    else:
        return None
    if points.ndim != 2 or len(points) != 68 or points.shape[1] < 2 or not np.isfinite(points[:, :2]).all():
        raise ValueError(f"{path}: expected 68 points of finite x and y, got an array of shape {points.shape}")
    return torch.from_numpy(points[:, :2].astype(np.float32))
