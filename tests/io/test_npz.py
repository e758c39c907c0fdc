from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from diffrig_emo.io.npz import array_shapes, is_npz, read_array, read_columns, read_notes, read_npz, write_npz


def test_round_trip_with_notes(tmp_path):
    path = tmp_path / "new" / "a.npz"
    write_npz(path, {"x": np.arange(6).reshape(2, 3)}, {"licence": "CC BY 4.0"})
    arrays, notes = read_npz(path)
    assert np.array_equal(arrays["x"], [[0, 1, 2], [3, 4, 5]])
    assert list(arrays) == ["x"]
    assert notes == read_notes(path) == {"licence": "CC BY 4.0"}
    assert np.array_equal(read_array(path, "x"), arrays["x"])
    assert [p.name for p in path.parent.iterdir()] == ["a.npz"]


def test_files_of_others_have_no_notes(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(2))
    assert read_npz(tmp_path / "a.npz").notes == {}
    assert array_shapes(tmp_path / "a.npz") == {"x": (2,)}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", "<f4", ">f4", "u1"])
def test_parts_are_those_of_the_whole(tmp_path, monkeypatch, save, layout, dtype):
    monkeypatch.setattr("diffrig_emo.io.npz._BLOCK", 100)  # several blocks, the last one not full
    rng = np.random.default_rng(0)
    whole = np.asarray(rng.integers(0, 255, (5, 4, 3, 7)).astype(dtype), order=layout)
    save(tmp_path / "a.npz", x=whole)
    rows = rng.permutation(60)[:23]
    part = read_columns(tmp_path / "a.npz", "x", rows, 4)
    assert part.dtype == np.float32
    assert np.array_equal(part, whole.reshape(60, 7)[rows, :4].T.astype(np.float32))


def test_parts_cost_no_more_than_they_are(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((200_000, 100)))
    tracemalloc.start()
    try:
        part = read_columns(tmp_path / "a.npz", "x", np.arange(0, 200_000, 100), 5)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert part.shape == (5, 2000)
    assert peak < 40e6  # the file has 160 MB


def test_damage_is_named(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((100, 10)))
    whole = path.read_bytes()
    readers = (read_npz, array_shapes, lambda p: read_array(p, "x"), lambda p: read_columns(p, "x", np.arange(100), 10))
    for damaged in (whole[:-40], whole[: len(whole) // 2], b"PK\x03\x04", b"", b"text"):
        path.write_bytes(damaged)
        for read in readers:
            with pytest.raises(ValueError, match=r"a\.npz"):
                read(path)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match=r"its 'y' cannot be read"):
        read_array(path, "y")


def test_an_array_that_says_it_is_larger(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.zeros((100, 10)))
    path.write_bytes(path.read_bytes().replace(b"(100, 10)", b"(999, 10)"))
    with pytest.raises(ValueError, match=r"a\.npz"):
        read_columns(path, "x", np.arange(999), 10)


def test_objects_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([{}], dtype=object))
    for read in (read_npz, lambda p: read_array(p, "x"), lambda p: read_columns(p, "x", np.arange(1), 1)):
        with pytest.raises(ValueError, match=r"allow_pickle|instead of numbers"):
            read(tmp_path / "a.npz")


def test_kind_of_file(tmp_path):
    np.savez(tmp_path / "a.pkl", x=1)
    np.save(tmp_path / "b.npy", np.ones(1))
    assert is_npz(tmp_path / "a.pkl.npz")
    assert not is_npz(tmp_path / "b.npy")
