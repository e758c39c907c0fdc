from __future__ import annotations

import collections
import os
import pickle

import numpy as np
import pytest
import scipy.sparse
import torch

from diffrig_emo.io.safe_pickle import RefusedPickleError, load_object_npy, load_pickle
from tests.parity.make_fake_flame import Ch, dump_python2, save_object_npy


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def write(path, value, protocol=2):
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(tmp_path, protocol):
    value = {
        "a": np.arange(6, dtype=np.uint32).reshape(2, 3),
        "b": [np.ones(2, dtype=">f4"), ("text", 3, None)],
        "c": scipy.sparse.csc_matrix(np.eye(3)),
        "d": collections.OrderedDict(x=np.float64(2.0).repeat(2)),
        "e": {1, 2},
    }
    read = load_pickle(write(tmp_path / "a.pkl", value, protocol))
    assert np.array_equal(read["a"], value["a"])
    assert read["a"].dtype == np.uint32
    assert np.array_equal(read["b"][0], value["b"][0])
    assert read["b"][1] == ("text", 3, None)
    assert np.array_equal(read["c"], np.eye(3))
    assert np.array_equal(read["d"]["x"], [2.0, 2.0])
    assert read["e"] == {1, 2}


def test_python2_dialect(tmp_path):
    dense = np.random.default_rng(0).random((4, 7)) * (np.random.default_rng(1).random((4, 7)) > 0.5)
    dump_python2({"c": Ch(np.arange(3.0)), "m": scipy.sparse.csc_matrix(dense), "s": "lbs"}, tmp_path / "a.pkl")
    read = load_pickle(tmp_path / "a.pkl")
    assert np.array_equal(read["c"], np.arange(3.0))
    assert np.array_equal(read["m"], dense)
    assert read["s"] == "lbs"


def test_tensors(tmp_path):
    base = torch.arange(12).reshape(3, 4)
    value = {"whole": base, "view": base[1:, ::2], "half": torch.ones(2, dtype=torch.float16)}
    read = load_pickle(write(tmp_path / "a.pkl", value))
    for name, tensor in value.items():
        assert torch.equal(read[name], tensor)


def test_object_npy(tmp_path):
    save_object_npy({"t": torch.arange(3), "a": np.ones(2)}, tmp_path / "a.npy")
    read = load_object_npy(tmp_path / "a.npy")
    assert torch.equal(read["t"], torch.arange(3))
    np.save(tmp_path / "b.npy", np.array({"a": 1}, dtype=object), allow_pickle=True)
    assert load_object_npy(tmp_path / "b.npy") == {"a": 1}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, r"(posix|nt)\.system"),
        (eval, r"(__builtin__|builtins)\.eval"),
        (torch.load, r"torch\.serialization\.load"),
    ],
)
def test_functions_are_refused_by_name(tmp_path, function, name, protocol):
    flag = tmp_path / "ran"
    path = write(tmp_path / "a.pkl", {"a": Evil(function, f"open({str(flag)!r}, 'w')")}, protocol)
    with pytest.raises(RefusedPickleError, match=rf"a\.pkl: refused, because it wants to use {name}"):
        load_pickle(path)
    assert not flag.exists()


def test_classes_are_refused_by_name(tmp_path):
    with pytest.raises(RefusedPickleError, match=r"pathlib\.\S*Path"):
        load_pickle(write(tmp_path / "a.pkl", tmp_path))
    np.save(tmp_path / "a.npy", np.array(tmp_path, dtype=object), allow_pickle=True)
    with pytest.raises(RefusedPickleError, match=r"pathlib\.\S*Path"):
        load_object_npy(tmp_path / "a.npy")


def test_a_pickle_inside_a_storage_is_refused(tmp_path):
    inner = pickle.dumps(Evil(os.system, "true"), protocol=2)
    path = write(tmp_path / "a.pkl", Evil(torch.storage._load_from_bytes, inner))
    with pytest.raises(ValueError, match="truncated or damaged"):
        load_pickle(path)


def test_truncated_everywhere(tmp_path):
    dump_python2({"c": Ch(np.arange(3.0)), "m": scipy.sparse.csc_matrix(np.eye(2))}, tmp_path / "a.pkl")
    data = (tmp_path / "a.pkl").read_bytes()
    for kept in range(0, len(data) - 1, 7):
        (tmp_path / "b.pkl").write_bytes(data[:kept])
        with pytest.raises(ValueError, match=r"b\.pkl: expected a complete pickle"):
            load_pickle(tmp_path / "b.pkl")


def test_damaged_npy(tmp_path):
    save_object_npy({"a": np.ones(2)}, tmp_path / "a.npy")
    data = (tmp_path / "a.npy").read_bytes()
    for kept in (0, 4, 40, 128, len(data) // 2, len(data) - 2):
        (tmp_path / "b.npy").write_bytes(data[:kept])
        with pytest.raises(ValueError, match=r"b\.npy: expected a"):
            load_object_npy(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"expected a \.npy file of one pickled object, got float64"):
        load_object_npy(tmp_path / "c.npy")


def test_chumpy_without_values(tmp_path):
    composed = Ch(np.ones(1))
    del composed.x
    dump_python2({"c": composed}, tmp_path / "a.pkl")
    with pytest.raises(ValueError, match="a chumpy object without values"):
        load_pickle(tmp_path / "a.pkl")
