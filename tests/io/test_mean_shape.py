from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from diffrig_emo.io.mean_shape import MEAN_SHAPE, read_mean_shape
from diffrig_emo.io.npz import write_npz


@pytest.mark.parametrize("value", [torch.arange(4.0)[None], torch.arange(4.0), np.arange(4.0)[None]])
def test_a_pickle(tmp_path, value):
    (tmp_path / "mean_shape.pkl").write_bytes(pickle.dumps(value))
    shape = read_mean_shape(tmp_path / "mean_shape.pkl")
    assert shape.dtype == torch.float32
    assert shape.tolist() == [0, 1, 2, 3]


def test_a_converted_file(tmp_path):
    write_npz(tmp_path / "mean_shape.npz", {MEAN_SHAPE: np.arange(4, dtype=np.float32)}, {})
    assert read_mean_shape(tmp_path / "mean_shape.npz").tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("value", [torch.zeros(2, 100), torch.full((1, 4), torch.nan), {"shape": 1}, "text", [1.0]])
def test_something_else(tmp_path, value):
    (tmp_path / "mean_shape.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(ValueError, match=r"mean_shape\.pkl: expected one shape code, of shape \(1, n_shape\), got"):
        read_mean_shape(tmp_path / "mean_shape.pkl")
