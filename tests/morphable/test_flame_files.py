"""Versions of FLAME told apart, converted files, and what reading costs."""

from __future__ import annotations

import dataclasses
import tracemalloc

import numpy as np
import pytest
import scipy.sparse
import torch

from diffrig_emo.io.npz import write_npz
from diffrig_emo.morphable.flame import FLAME
from diffrig_emo.morphable.flame_files import read_landmark_embedding, read_model, whole_landmark_embedding, whole_model
from diffrig_emo.structures import FaceCodes, StructError
from diffrig_emo.utils import assets as assets_module
from diffrig_emo.utils.assets import ASSETS, file_sha256
from tests.parity.make_fake_flame import PARENTS, Ch, build, dump_python2, make_landmarks, make_mesh, make_model
from tests.parity.make_fake_flame import save_object_npy as save_marks


@pytest.fixture(scope="module")
def contents():
    vertices, _, faces, _ = make_mesh(7)
    return make_model(7, vertices, faces)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    return build(tmp_path_factory.mktemp("flame"), components=1, tex_size=8)


@pytest.fixture
def folder(official, tmp_path):
    for name in ("generic_model.pkl", "landmark_embedding.npy", "head_template.obj"):
        (tmp_path / name).write_bytes((official / name).read_bytes())
    return tmp_path


def as_official(monkeypatch, path, name):
    """Let a fake's digest be that of the official file."""
    digest = file_sha256(path)
    table = tuple(dataclasses.replace(a, sha256=digest) if a.name == name else a for a in ASSETS)
    monkeypatch.setattr(assets_module, "ASSETS", table)


def test_the_digest_names_the_space_whatever_the_files_name(folder, monkeypatch):
    assert FLAME.from_folder(folder).space == "flame2020"
    as_official(monkeypatch, folder / "generic_model.pkl", "flame2023")
    flame = FLAME.from_folder(folder)
    assert flame.space == "flame2023"
    with pytest.raises(StructError, match="expected codes of space 'flame2023', got 'flame2020'"):
        flame(FaceCodes.zeros(1, n_shape=100, n_tex=1, n_exp=50, space="flame2020"))


def test_a_known_version_is_not_given_anothers_space(folder, monkeypatch):
    path = folder / "generic_model.pkl"
    as_official(monkeypatch, path, "flame2023")
    with pytest.raises(ValueError, match=r"space: .*pkl is a model of space 'flame2023', got 'flame2020'.*2020"):
        FLAME(path, folder, folder, space="flame2020")
    assert FLAME(path, folder, folder, space="flame2023").space == "flame2023"
    assert FLAME(path, folder, folder, space="mine").space == "mine"


@pytest.mark.parametrize(
    ("name", "space"),
    [
        ("flame2023.pkl", "flame2023"),
        ("FLAME2023_Open.pkl", "flame2023_open"),
        ("generic_model_chumpy_free.pkl", "flame2020"),
    ],
)
def test_files_saved_anew_go_by_their_names(folder, name, space):
    path = (folder / "generic_model.pkl").rename(folder / name)
    assert FLAME(path, folder, folder).space == space


def test_flame_2023_open_as_it_is_pickled(folder, contents):
    """Plain numpy, through `_frombuffer`, which is how old NumPys wrote under protocol 5; known by its metadata."""
    import pickle

    extra = {"supr_expression_metadata": {"expr_components": "last_100", "n_expr": 100}}
    content = {**contents, **extra}
    assert isinstance(content["J_regressor"], scipy.sparse.csc_matrix)
    data = pickle.dumps(content, protocol=5)
    assert b"_frombuffer" in data
    (folder / "generic_model.pkl").write_bytes(data)
    flame = FLAME.from_folder(folder)
    assert flame.space == "flame2023_open"
    torch.testing.assert_close(flame.template, torch.from_numpy(contents["v_template"]).float())


@pytest.mark.parametrize("how", ["name", "weights", "joints"])
def test_flame_without_jaw_is_refused(folder, contents, how):
    path = folder / "generic_model.pkl"
    if how == "name":
        path = path.rename(folder / "flame2023_no_jaw.pkl")
    elif how == "weights":
        weights = contents["weights"].copy()
        weights[:, 1] += weights[:, 2]
        weights[:, 2] = 0
        dump_python2({**contents, "weights": weights}, path)
    else:
        dump_python2({**contents, "weights": contents["weights"][:, :2]}, path)
    with pytest.raises(ValueError, match=r"expected a FLAME with a jaw, got one without.*generic_model\.pkl of FLAME"):
        FLAME(path, folder, folder)


def test_converted_files_give_the_same_model(folder, monkeypatch):
    as_official(monkeypatch, folder / "generic_model.pkl", "flame2023_open")
    before = FLAME.from_folder(folder)
    model = read_model(folder / "generic_model.pkl")
    write_npz(folder / "flame.npz", whole_model(model), {"space": "flame2023_open"})
    marks = read_landmark_embedding(folder / "landmark_embedding.npy")
    write_npz(folder / "marks.npz", whole_landmark_embedding(marks), {})
    after = FLAME(folder / "flame.npz", folder / "marks.npz", folder)
    assert after.space == before.space == "flame2023_open"
    assert after.parents == before.parents
    ours, theirs = dict(before.named_buffers()), dict(after.named_buffers())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_truncated_converted_file(folder):
    path = folder / "flame.npz"
    write_npz(path, {"f": np.zeros((9, 3))}, {})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"flame\.npz: cannot be read as a \.npz file.*download it again"):
        FLAME(path, folder, folder)


def test_a_landmark_embedding_of_something_else(folder):
    save_marks({"lmk_face_idx": np.zeros(105)}, folder / "landmark_embedding.npy")
    with pytest.raises(ValueError, match="expected an array named 'static_lmk_faces_idx', got only"):
        whole_landmark_embedding(read_landmark_embedding(folder / "landmark_embedding.npy"))


def test_official_sizes_take_little_memory(tmp_path):
    n_vertices, n_faces, n_uvs = 5023, 9976, 5118
    faces = np.arange(3 * n_faces).reshape(-1, 3) % n_vertices
    vertices = np.stack([np.sin(np.arange(n_vertices) * k) for k in (1, 2, 3)], 1)
    model = {
        "f": faces.astype(np.uint32),
        "J_regressor": scipy.sparse.csc_matrix(np.eye(5, n_vertices)),
        "kintree_table": PARENTS,
        "weights": np.full((n_vertices, 5), 0.2),
        "posedirs": np.zeros((n_vertices, 3, 36)),
        "v_template": vertices,
        "shapedirs": Ch(np.zeros((n_vertices, 3, 400))),
    }
    dump_python2(model, tmp_path / "generic_model.pkl")
    assert (tmp_path / "generic_model.pkl").stat().st_size == pytest.approx(53_023_716, rel=0.01)
    save_marks(make_landmarks(7, vertices, faces), tmp_path / "landmark_embedding.npy")
    lines = [f"v {x} {y} {z}" for x, y, z in vertices.round(6)] + ["vt 0.5 0.5"] * n_uvs
    lines += [f"f {a + 1}/1 {b + 1}/2 {c + 1}/3" for a, b, c in faces]
    (tmp_path / "head_template.obj").write_text("\n".join(lines))
    tracemalloc.start()
    try:
        flame = FLAME.from_folder(tmp_path)
        # NumPy's arrays and Python's objects; torch shares the former.
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert flame.template.shape == (n_vertices, 3)
    assert 50e6 < peak < 300e6
