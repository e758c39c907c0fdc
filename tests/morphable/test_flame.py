from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch

from diffrig_emo.io.safe_pickle import RefusedPickleError
from diffrig_emo.morphable.flame import FLAME
from diffrig_emo.structures import FaceCodes, StructError
from tests.parity.make_fake_flame import Ch, build, dump_python2, make_landmarks, make_mesh, make_model, save_object_npy


@pytest.fixture(scope="module")
def assets(tmp_path_factory):
    return build(tmp_path_factory.mktemp("flame"), components=2, tex_size=16)


@pytest.fixture(scope="module")
def flame(assets):
    return FLAME.from_folder(assets)


@pytest.fixture
def folder(assets, tmp_path):
    """A copy of the assets that a test may damage."""
    for name in ("generic_model.pkl", "landmark_embedding.npy", "head_template.obj"):
        (tmp_path / name).write_bytes((assets / name).read_bytes())
    return tmp_path


@pytest.fixture(scope="module")
def contents():
    vertices, _, faces, _ = make_mesh(7)
    return make_model(7, vertices, faces), make_landmarks(7, vertices, faces)


def random_codes(n, dtype=torch.float32):
    blank = FaceCodes.zeros(n, n_shape=100, n_tex=1, n_exp=50, space="flame2020", dtype=dtype)
    return blank.replace(
        shape=torch.randn(n, 100, dtype=dtype),
        exp=torch.randn(n, 50, dtype=dtype),
        pose=0.3 * torch.randn(n, 6, dtype=dtype),
    )


def test_batch_size_never_changes_a_face(flame):
    codes = random_codes(5)
    together = flame(codes)
    for i, one in enumerate(codes):
        alone = flame(one)
        for name in ("vertices", "landmarks2d", "landmarks3d"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(together, name)[i], atol=1e-7, rtol=0)


def test_zero_codes_give_the_template(flame, contents):
    zeros = FaceCodes.zeros(1, n_shape=100, n_tex=1, n_exp=50, space="flame2020")
    template = torch.from_numpy(contents[0]["v_template"]).float()
    torch.testing.assert_close(flame(zeros).vertices[0], template, atol=1e-6, rtol=0)


def test_any_array_may_be_chumpys(folder, contents, flame):
    arrays = {key: value for key, value in contents[0].items() if isinstance(value, np.ndarray)}
    dump_python2({**contents[0], **{key: Ch(value) for key, value in arrays.items()}}, folder / "generic_model.pkl")
    codes = random_codes(2)
    # The template in the file was rounded to a micrometre.
    torch.testing.assert_close(FLAME.from_folder(folder)(codes).vertices, flame(codes).vertices, atol=2e-6, rtol=0)


def test_one_coefficient_is_one_column(flame, contents):
    zeros = FaceCodes.zeros(1, n_shape=100, n_tex=1, n_exp=50, space="flame2020")
    one = torch.zeros(1, 50)
    one[0, 3] = 2.0
    moved = flame(zeros.replace(exp=one)).vertices - flame(zeros).vertices
    expected = torch.from_numpy(2.0 * contents[0]["shapedirs"][:, :, 303]).float()
    torch.testing.assert_close(moved[0], expected, atol=1e-6, rtol=0)


def test_translation_moves_everything(flame):
    codes = random_codes(2)
    shift = torch.tensor([[0.1, -0.2, 0.3], [0.0, 0.5, 0.0]])
    before, after = flame(codes), flame(codes.replace(translation=shift))
    for name in ("vertices", "landmarks2d", "landmarks3d"):
        moved = getattr(after, name) - getattr(before, name)
        torch.testing.assert_close(moved, shift[:, None].expand_as(moved), atol=1e-6, rtol=0)


def test_each_eye_turns_what_it_carries(flame):
    codes = random_codes(1)
    straight = flame(codes).vertices
    for joint, columns in ((3, slice(0, 3)), (4, slice(3, 6))):
        eye_pose = torch.zeros(1, 6)
        eye_pose[:, columns] = torch.tensor([0.0, 0.3, 0.0])
        # without pose correctives only the vertices bound to that eye may move
        flame_weights = flame.skinning_weights[:, joint]
        correctives = flame.pose_correctives.clone()
        flame.pose_correctives.zero_()
        try:
            moved = (flame(codes.replace(eye_pose=eye_pose)).vertices - flame(codes).vertices)[0].norm(dim=1)
        finally:
            flame.pose_correctives.copy_(correctives)
        assert moved[flame_weights > flame_weights.median()].mean() > 3 * moved[flame_weights < 0.01].mean()
    torch.testing.assert_close(flame(codes.replace(eye_pose=torch.zeros(1, 6))).vertices, straight)


def test_gradients_in_float64(assets):
    flame = FLAME.from_folder(assets, n_shape=2, n_exp=2).double()
    blank = FaceCodes.zeros(1, n_shape=2, n_tex=1, n_exp=2, space="flame2020", dtype=torch.float64)
    start = [torch.randn(1, n, dtype=torch.float64, requires_grad=True) for n in (2, 2, 6, 6)]

    def forward(shape, exp, pose, eye_pose):
        mesh = flame(blank.replace(shape=shape, exp=exp, pose=0.2 * pose, eye_pose=0.2 * eye_pose))
        return mesh.vertices[:, ::97], mesh.landmarks2d[:, ::9], mesh.landmarks3d[:, ::9]

    assert torch.autograd.gradcheck(forward, start, fast_mode=True)


def test_licensed_arrays_stay_out_of_checkpoints(flame):
    assert not flame.state_dict()
    assert not list(flame.parameters())


def test_moves_to_a_device_with_its_topology(flame):
    meta = pickle.loads(pickle.dumps(flame)).to("meta")
    assert {t.device.type for t in (meta.topology.faces, meta.topology.uvs, meta.topology.uv_faces)} == {"meta"}


def test_found_where_assets_are_looked_for(assets, monkeypatch):
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(assets))
    assert FLAME().template.shape == (600, 3)


def test_wrong_codes(flame):
    with pytest.raises(StructError, match="expected codes of space 'flame2020', got 'synthetic1'"):
        flame(random_codes(1).replace(space="synthetic1"))
    with pytest.raises(ValueError, match="expected 100 and 50 coefficients, got 100 and 20"):
        flame(random_codes(1).replace(exp=torch.zeros(1, 20)))


@pytest.mark.parametrize("counts", [(0, 50), (301, 50), (100, 101), (100, 0)])
def test_wrong_counts(assets, counts):
    with pytest.raises(ValueError, match=r"n_shape and n_exp: expected 1\.\.300 and 1\.\.100"):
        FLAME.from_folder(assets, *counts)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("generic_model.pkl", "flame.is.tue.mpg.de"),
        ("landmark_embedding.npy", "github.com/yfeng95/DECA"),
        ("head_template.obj", "github.com/yfeng95/DECA"),
    ],
)
def test_missing_file_is_named_with_its_place(folder, name, place):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError) as error:
        FLAME.from_folder(folder)
    assert all(part in str(error.value) for part in (name, str(folder), place))


@pytest.mark.parametrize("name", ["generic_model.pkl", "landmark_embedding.npy"])
def test_truncated_file(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=rf"{name}: expected a complete pickle"):
        FLAME.from_folder(folder)


def test_hostile_file(folder):
    class Evil:
        def __reduce__(self):
            return os.system, ("true",)

    (folder / "generic_model.pkl").write_bytes(pickle.dumps({"f": Evil()}))
    with pytest.raises(RefusedPickleError, match=r"generic_model\.pkl: refused, because it wants to use \w+\.system"):
        FLAME.from_folder(folder)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("weights", None, r"expected an array named 'weights', got only \['J', "),
        ("v_template", lambda a: a[:, :2], r"'v_template': expected shape \(n, 3\), got \(600, 2\)"),
        ("shapedirs", lambda a: a[..., :150], r"'shapedirs': expected shape \(600, 3, 400\), got \(600, 3, 150\)"),
        ("posedirs", lambda a: a * np.nan, "'posedirs': expected finite numbers"),
        ("f", lambda a: a + 600, r"'f': expected 0\.\.599, got 600"),
        ("f", lambda a: a + 0.5, "'f': expected whole numbers, got float64"),
        ("kintree_table", lambda a: a[:, :4], r"'kintree_table': expected shape \(2, 5\)"),
    ],
)
def test_wrong_model_contents(folder, contents, key, change, message):
    model = dict(contents[0])
    if change is None:
        del model[key]
    else:
        model[key] = change(np.asarray(model[key]))
    dump_python2(model, folder / "generic_model.pkl")
    with pytest.raises(ValueError, match=rf"generic_model\.pkl.*{message}"):
        FLAME.from_folder(folder)


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("dynamic_lmk_faces_idx", None, "expected an array named 'dynamic_lmk_faces_idx'"),
        (
            "static_lmk_bary_coords",
            lambda a: a[:50],
            r"'static_lmk_bary_coords': expected shape \(51, 3\), got \(50, 3\)",
        ),
        ("full_lmk_faces_idx", lambda a: a + 2000, r"'full_lmk_faces_idx': expected 0\.\.1195"),
    ],
)
def test_wrong_landmark_contents(folder, contents, key, change, message):
    marks = dict(contents[1])
    if change is None:
        del marks[key]
    else:
        marks[key] = change(marks[key])
    save_object_npy(marks, folder / "landmark_embedding.npy")
    with pytest.raises(ValueError, match=rf"landmark_embedding\.npy.*{message}"):
        FLAME.from_folder(folder)


def test_no_dictionary(folder):
    dump_python2([1, 2], folder / "generic_model.pkl")
    with pytest.raises(ValueError, match="expected a dictionary of arrays, got list"):
        FLAME.from_folder(folder)


def test_another_template(folder):
    (folder / "head_template.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(
        ValueError, match=r"head_template\.obj: expected a mesh of 600 vertices with texture coord.*got 3"
    ):
        FLAME.from_folder(folder)
