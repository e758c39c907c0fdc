"""Where official files are looked for, and what is said about them."""

from __future__ import annotations

import dataclasses
import hashlib
import os

import pytest

from diffrig_emo.utils import assets
from diffrig_emo.utils.assets import (
    ASSETS,
    Asset,
    AssetNotFoundError,
    difference,
    find_asset,
    locate_asset,
    search_folders,
)


@pytest.fixture(autouse=True)
def _somewhere_else(monkeypatch, tmp_path):
    """Relative folders lead to an empty one."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


def _put(folder, name, content=b"x"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_nothing_is_found_in_empty_folders():
    assert all(find_asset(asset.name) is None for asset in ASSETS)


def test_environment_comes_before_assets_before_data_before_cache(monkeypatch, tmp_path):
    places = [tmp_path / "cache" / "diffrig_emo", tmp_path / "cwd" / "data", tmp_path / "cwd" / "assets"]
    places += [tmp_path / "env_b", tmp_path / "env_a"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", os.pathsep.join([str(tmp_path / "env_a"), str(tmp_path / "env_b")]))
    for place in places:
        wanted = _put(place, "deca_model.tar")
        assert find_asset("deca").resolve() == wanted
    assert len(search_folders()) == len(places)


def test_layouts_of_the_authors_scripts_are_known(tmp_path):
    flame = _put(tmp_path, "FLAME/geometry/generic_model.pkl")
    assert find_asset("flame", [tmp_path]) == flame
    (tmp_path / "EMOCA/models/EMOCA_v2_lr_mse_20").mkdir(parents=True)
    assert find_asset("emoca", [tmp_path]).name == "EMOCA_v2_lr_mse_20"
    for step in ("000000", "050000"):
        _put(tmp_path, f"DiffusionRig/model{step}.pt")
    assert find_asset("diffusionrig", [tmp_path]).name == "model050000.pt"


def test_an_explicit_file_wins_whatever_its_name(monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(tmp_path / "env"))
    _put(tmp_path / "env", "generic_model.pkl")
    mine = _put(tmp_path, "mine.pkl")
    assert locate_asset("flame", mine) == mine


def test_an_explicit_folder_is_searched_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(tmp_path / "env"))
    _put(tmp_path / "env", "generic_model.pkl")
    (tmp_path / "explicit").mkdir()
    with pytest.raises(AssetNotFoundError, match="explicit"):
        locate_asset("flame", tmp_path / "explicit")
    wanted = _put(tmp_path / "explicit", "generic_model.pkl")
    assert locate_asset("flame", tmp_path / "explicit") == wanted


def test_an_explicit_asset_folder_is_the_asset(tmp_path):
    folder = tmp_path / "EMOCA_v2_lr_mse_20"
    folder.mkdir()
    assert locate_asset("emoca", folder) == folder


@pytest.mark.parametrize("asset", ASSETS, ids=lambda asset: asset.name)
def test_a_missing_asset_says_what_where_and_how(asset):
    with pytest.raises(AssetNotFoundError) as error:
        locate_asset(asset.name)
    message = str(error.value)
    for part in (asset.file, asset.source, asset.licence, asset.unlocks, "DIFFRIG_EMO_ASSETS", "data"):
        assert part in message


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"expected one of flame, flame2023, .*; got 'smpl'"):
        find_asset("smpl")


@pytest.fixture
def asset(monkeypatch):
    """An asset with a known size and digest, in the table."""
    content = b"official bytes"
    asset = Asset(
        name="a",
        system="FLAME",
        file="a.bin",
        licence="Lab A: research",
        source="",
        unlocks="",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        space="a",
    )
    other = dataclasses.replace(
        asset, name="b", file="b.bin", licence="Lab B: art", sha256=hashlib.sha256(b"other").hexdigest(), space="b"
    )
    monkeypatch.setattr(assets, "ASSETS", (asset, other))
    return asset


def test_difference_tells_sizes_digests_and_other_known_files_apart(asset, tmp_path):
    assert difference(asset, _put(tmp_path, "a.bin", b"official bytes")) is None
    assert "has 4 bytes instead of 14: truncated" in difference(asset, _put(tmp_path, "a.bin", b"offi"))
    assert "another SHA-256" in difference(asset, _put(tmp_path, "a.bin", b"OFFICIAL BYTES"))
    assert difference(asset, _put(tmp_path, "a.bin", b"")) == "is empty"
    renamed = difference(asset, _put(tmp_path, "a.bin", b"other"))
    assert renamed == "is b.bin (Lab B) under another name, whose codes are of space 'b'"
    assert difference(dataclasses.replace(asset, sha256=None), _put(tmp_path, "a.bin", b"any")) is None


def test_large_files_are_not_read_through(asset, tmp_path, monkeypatch):
    monkeypatch.setattr(assets, "_HASHED_AT_MOST", 10)
    monkeypatch.setattr(assets, "file_sha256", None)
    assert "has 20 bytes instead of 14" in difference(asset, _put(tmp_path, "a.bin", bytes(20)))


def test_digests_are_those_of_all_bytes(tmp_path):
    content = bytes(range(256)) * 10_000
    assert assets.file_sha256(_put(tmp_path, "a", content)) == hashlib.sha256(content).hexdigest()


def test_the_default_emoca_is_told_from_a_folder_without_its_checkpoint(tmp_path):
    model = tmp_path / "assets" / "EMOCA" / "models" / "EMOCA_v2_lr_mse_20"
    model.mkdir(parents=True)
    emoca = next(asset for asset in ASSETS if asset.name == "emoca")
    assert find_asset("emoca", [tmp_path]) == model
    assert "unpack the download with its folders" in difference(emoca, model)
    _put(model, "detail/checkpoints/deca-epoch=10-val_loss/dataloader_idx_0=3.25.ckpt")
    assert difference(emoca, model) is None
    # Under a name of one's own it is known by what it holds.
    renamed = model.rename(tmp_path / "my_emoca")
    assert locate_asset("emoca", renamed) == renamed


def test_the_folder_around_all_emoca_models_is_not_the_first_version(tmp_path):
    (tmp_path / "EMOCA" / "models").mkdir(parents=True)
    assert find_asset("emoca_v1", [tmp_path]) is None
    (tmp_path / "EMOCA" / "models" / "EMOCA").mkdir()
    assert find_asset("emoca_v1", [tmp_path]) == tmp_path / "EMOCA" / "models" / "EMOCA"


MIXTURE = {
    "flame": "data/generic_model.pkl",
    "deca": "data/deca_model.tar",
    "flame_texture": "data/FLAME_texture.npz",
    "uv_face_eye_mask": "data/uv_face_eye_mask.png",
    "fixed_displacement": "data/fixed_displacement_256.npy",
    "bfm_albedo": "assets/FLAME/texture/FLAME_albedo_from_BFM.npz",
    "emoca": "assets/EMOCA/models/EMOCA_v2_lr_mse_20/cfg.yaml",
    "diffusionrig": "checkpoints/model050000.pt",
}
"""The DiffusionRig-EMO project keeps its files in two folders of one repository."""


@pytest.mark.parametrize("pointed_at", ["", "data", "assets", "data/", "assets/../data"])
def test_the_emo_projects_mixture_is_found_from_any_of_its_folders(monkeypatch, tmp_path, pointed_at):
    paths = {name: _put(tmp_path / "repo", file) for name, file in MIXTURE.items()}
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", f"{tmp_path / 'repo'}/{pointed_at}")
    for name, path in paths.items():
        if name == "diffusionrig" and pointed_at:
            continue  # it lies in neither folder
        wanted = path.parent if name == "emoca" else path
        assert find_asset(name).resolve() == wanted


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("flame", "FLAME/geometry/generic_model.pkl"),
        ("head_template", "FLAME/geometry/head_template.obj"),
        ("landmark_embedding", "FLAME/geometry/landmark_embedding.npy"),
        ("fixed_displacement", "FLAME/geometry/fixed_uv_displacements/fixed_displacement_256.npy"),
        ("bfm_albedo", "FLAME/texture/FLAME_albedo_from_BFM.npz"),
        ("uv_face_eye_mask", "FLAME/mask/uv_face_eye_mask.png"),
        ("uv_face_mask", "FLAME/mask/uv_face_mask.png"),
        ("deca", "DECA/data/deca_model.tar"),
    ],
)
def test_emocas_tree_is_known(tmp_path, name, file):
    wanted = _put(tmp_path, file)
    assert find_asset(name, [tmp_path]) == wanted


def test_a_converted_file_comes_first_in_its_folder(tmp_path):
    official = _put(tmp_path / "b", "generic_model.pkl")
    converted = _put(tmp_path / "b", "flame2020.npz")
    assert find_asset("flame", [tmp_path / "b"]) == converted
    assert find_asset("flame", [tmp_path / "b"], converted=False) == official
    earlier = _put(tmp_path / "a", "generic_model.pkl")
    assert find_asset("flame", [tmp_path / "a", tmp_path / "b"]) == earlier


def test_a_folder_that_does_not_exist_is_called_so(monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(tmp_path / "mistyped"))
    with pytest.raises(AssetNotFoundError, match=r"mistyped \(no such folder\)"):
        locate_asset("flame")


def test_what_systems_need_is_in_the_table():
    names = {asset.name for asset in ASSETS}
    assert {name for needs in assets.NEEDS.values() for group in needs for name in group} <= names
    assert set(assets.NEEDS) == {asset.system for asset in ASSETS}


def test_names_are_unique():
    assert len({asset.name for asset in assets.ASSETS}) == len(ASSETS)


def test_networks_of_metrics_are_also_found_where_pytorch_keeps_its_downloads(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    cached = _put(tmp_path / "torch/hub/checkpoints", "alexnet-owt-7be5be79.pth")
    assert find_asset("lpips_trunk") == cached
    assert find_asset("arcface") is None
    _put(tmp_path / "torch/hub/checkpoints", "model_ir_se50.pth")
    assert find_asset("arcface") is None, "it does not come from there"
    own = _put(tmp_path / "cwd/assets/metrics", "alexnet-owt-7be5be79.pth")
    assert find_asset("lpips_trunk").resolve() == own, "a folder that is searched comes first"
    assert find_asset("lpips_trunk", [tmp_path / "env"]) is None


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("lpips_trunk", "alexnet-owt-4df8aa71.pth"),
        ("inception", "weights-inception-2015-12-05-6726825d.pth"),
        ("inception", "fid/pt_inception-2015-12-05-6726825d.pth"),
        ("arcface", "metrics/model_ir_se50.pth"),
        ("hsemotion", "hsemotion/enet_b2_7.onnx"),
        ("hsemotion", "enet_b0_8_va_mtl.onnx"),
    ],
)
def test_networks_of_metrics_are_known_by_their_authors_names(tmp_path, name, file):
    assert find_asset(name, [tmp_path]) is None
    wanted = _put(tmp_path, file)
    assert find_asset(name, [tmp_path]) == wanted
