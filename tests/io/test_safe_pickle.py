from __future__ import annotations

import codecs
import collections
import copyreg
import io
import os
import pickle

import numpy as np
import pytest
import scipy.sparse
import torch

from diffrig_emo.io.safe_pickle import RefusedPickleError, load_object_npy, load_pickle, loads_pickle
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


def test_a_tensor_that_was_on_a_gpu_comes_back_on_the_cpu(tmp_path):
    """DiffusionRig pickles `mean_shape.pkl` on the GPU; the storage's place is a word in the pickle."""
    storage = io.BytesIO()
    with pytest.warns(UserWarning, match="TypedStorage is deprecated"):
        typed = torch.arange(100.0).storage()
    torch.save(typed, storage, _use_new_zipfile_serialization=False)
    on_gpu = storage.getvalue().replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    assert b"cuda:0" in on_gpu
    tensor = Evil(
        torch._utils._rebuild_tensor_v2,
        Evil(torch.storage._load_from_bytes, on_gpu),
        0,
        (1, 100),
        (100, 1),
        False,
        collections.OrderedDict(),
    )
    read = load_pickle(write(tmp_path / "mean_shape.pkl", tensor))
    assert read.device.type == "cpu"
    assert torch.equal(read, torch.arange(100.0)[None])


def test_bytes_as_well_as_files():
    assert torch.equal(loads_pickle(pickle.dumps(torch.arange(3)), "a record"), torch.arange(3))
    with pytest.raises(RefusedPickleError, match=r"^record 7: refused, because it wants to use builtins\.eval"):
        loads_pickle(pickle.dumps(Evil(eval, "1")), "record 7")


# What follows attacks the names that are allowed.

OBJECT = np.dtype(object)


class Reduced:
    """Pickles as a call of a function and a state for what it gives."""

    def __init__(self, function, arguments, state):
        self.how = function, arguments, state

    def __reduce__(self):
        return self.how


def lying_dtype(flags):
    """`object`, with a pickled state that says there are no references in it."""
    return Reduced(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, flags))


@pytest.mark.parametrize(
    "hostile",
    [
        # An array that follows a pointer of the file's choice: this kills the interpreter if NumPy itself does it.
        Evil(np.ndarray, (1,), OBJECT, b"A" * 8),
        Reduced(np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b"b"), (1, (1,), lying_dtype(0), False, b"A" * 8)),
        Evil(np.zeros(1).__reduce_ex__(5)[0], b"A" * 8, OBJECT, (1,), "C"),
        # Structures, whose fields may lie anywhere.
        np.zeros(2, dtype=[("a", "O")]),
        np.zeros(2, dtype=[("a", "<f4"), ("b", "<i8")]),
        Reduced(np.dtype, ("V8", False, True), (3, "|", None, ("a",), {"a": (OBJECT, 4096)}, 8, 1, 0)),
        Evil(np.dtype, "O,O"),
        # Memory bombs.
        Evil(np.ndarray, (10**12,)),
        Evil(copyreg._reconstructor, np.ndarray, np.ndarray, 10**12),
        Reduced(np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b"b"), (1, (10**12,), np.dtype("f8"), False, b"A" * 8)),
        Reduced(np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b"b"), (1, (-1, -1), np.dtype("f8"), False, b"A" * 8)),
        Evil(np.zeros(1).__reduce_ex__(5)[0], b"", np.dtype("f8"), (10**12,), "C"),
        # Other classes behind allowed functions.
        Evil(copyreg._reconstructor, object, object, None),
        Evil(copyreg._reconstructor, set, set, [1]),
        Evil(np.zeros(1).__reduce__()[0], object, (0,), b"b"),
        # Codecs are modules, found by name.
        Evil(codecs.encode, "text", "rot13"),
        Evil(codecs.encode, b"bytes", "bz2"),
    ],
    ids=range(17),
)
def test_allowed_names_do_no_harm(tmp_path, hostile):
    path = write(tmp_path / "a.pkl", {"a": hostile})
    with pytest.raises(ValueError, match=r"a\.pkl: (expected a complete pickle|refused)"):
        load_pickle(path)


def rebuilt(offset=0, size=(2, 2), stride=(2, 1)):
    _, (storage, *_) = torch.zeros(4).__reduce_ex__(2)
    return Evil(torch._utils._rebuild_tensor_v2, storage, offset, size, stride, False, collections.OrderedDict())


@pytest.mark.parametrize(
    "place",
    [
        {"size": (10**6, 10**6)},
        {"size": (10**6, 10**6), "stride": (0, 0)},
        {"size": (2, 2), "stride": (2, 3)},
        {"offset": 1},
        {"offset": -1},
        {"offset": 2**62},
        {"stride": (-2, 1)},
        {"size": (-2, -2)},
    ],
)
def test_tensors_stay_within_their_storage(tmp_path, place):
    assert load_pickle(write(tmp_path / "honest.pkl", rebuilt())).shape == (2, 2)
    with pytest.raises(ValueError, match="expected a complete pickle"):
        load_pickle(write(tmp_path / "a.pkl", rebuilt(**place)))


@pytest.mark.parametrize(
    "parts",
    [
        {"indices": np.array([0, 3])},
        {"indices": np.array([0, -1])},
        {"indices": np.array([0])},
        {"indptr": np.array([0, 1, 10**9])},
        {"indptr": np.array([0, 3, 2])},
        {"_shape": (10**6, 10**6), "indptr": np.full(10**6 + 1, 2) * (np.arange(10**6 + 1) > 0)},
    ],
)
def test_sparse_matrices_stay_within_their_shape(tmp_path, parts):
    """scipy does not check indices, and writes where they point."""
    matrix = scipy.sparse.csc_matrix(np.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]))
    assert load_pickle(write(tmp_path / "honest.pkl", matrix)).shape == (3, 2)
    for name, value in parts.items():
        setattr(matrix, name, value)
    with pytest.raises(ValueError, match="expected a complete pickle"):
        load_pickle(write(tmp_path / "a.pkl", matrix))


NAMES_BELOW_NAMES = [
    (b"numpy", b"core.multiarray.os.system"),
    (b"numpy.core.multiarray", b"_reconstruct.__globals__"),
    (b"builtins", b"set.__class__"),
    (b"builtins", b"getattr"),
    (b"builtins", b"__import__"),
    (b"numpy", b"load"),
    (b"numpy.core.multiarray", b"scalar"),
    (b"torch.storage", b"os.system"),
    (b"diffrig_emo.io.safe_pickle", b"codecs.open"),
]


@pytest.mark.parametrize(("module", "name"), NAMES_BELOW_NAMES)
def test_no_way_from_one_name_to_another(module, name):
    short = pickle.SHORT_BINUNICODE
    data = pickle.PROTO + b"\x04"
    for word in (module, name):
        data += short + bytes([len(word)]) + word
    with pytest.raises(RefusedPickleError, match="it wants to use"):
        loads_pickle(data + pickle.STACK_GLOBAL + b".", "a")
    if b"." not in name:
        with pytest.raises(RefusedPickleError, match="it wants to use"):
            loads_pickle(b"c" + module + b"\n" + name + b"\n.", "a")


@pytest.mark.parametrize(
    "target",
    [
        b"cnumpy.core.multiarray\n_reconstruct\n",
        b"cnumpy\nndarray\n",
        b"cbuiltins\nset\n",
        b"ccollections\nOrderedDict\n)R",
        b"]",
    ],
)
def test_nothing_of_ours_can_be_changed(target):
    """BUILD with a pair as state sets attributes of whatever lies on the stack."""
    change = b"(N}X\x0c\x00\x00\x00__defaults__K\x01stb."
    with pytest.raises(RefusedPickleError, match="it wants to change a"):
        loads_pickle(target + change, "a")


def test_what_is_shared_a_billion_times_is_read_once():
    value = ["ha"]
    for _ in range(40):
        value = [value] * 10
    read = loads_pickle(pickle.dumps(value), "a")
    for _ in range(40):
        read = read[9]
    assert read == ["ha"]


def test_memos_cost_what_they_hold():
    """The unpickler in C would ask for 32 GB to remember one None under this number."""
    assert loads_pickle(b"Nr\xff\xff\xff\x7f.", "a") is None


def test_a_list_in_itself():
    value = []
    value.append(value)
    with pytest.raises(ValueError, match="RecursionError"):
        loads_pickle(pickle.dumps(value), "a")


def test_no_object_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"one pickled object, got object of shape \(2,\)"):
        load_object_npy(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="an array of objects"):
        loads_pickle(pickle.dumps(np.array([{}, {}], dtype=object)), "a")
