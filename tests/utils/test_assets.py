"""Where official files are looked for, and what is said about them."""

from __future__ import annotations

import hashlib

import pytest

from diffrig_emo.utils import assets
from diffrig_emo.utils.assets import ASSETS, Asset, AssetNotFoundError, find_asset, locate_asset, search_folders


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
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", f"{tmp_path / 'env_a'}:{tmp_path / 'env_b'}")
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
    with pytest.raises(ValueError, match=r"expected one of flame, head_template, .*; got 'smpl'"):
        find_asset("smpl")


def test_problem_tells_size_then_digest(tmp_path):
    content = b"official bytes"
    asset = Asset(
        name="a",
        file="a.bin",
        licence="",
        source="",
        unlocks="",
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    assert asset.problem(_put(tmp_path, "a.bin", content)) is None
    assert "has 4 bytes instead of 14: truncated" in asset.problem(_put(tmp_path, "a.bin", b"offi"))
    assert "another SHA-256" in asset.problem(_put(tmp_path, "a.bin", b"OFFICIAL BYTES"))


def test_digests_of_large_files_are_those_of_all_their_bytes(tmp_path):
    content = bytes(range(256)) * 10_000
    asset = Asset(name="a", file="a", licence="", source="", unlocks="", sha256=hashlib.sha256(content).hexdigest())
    assert asset.problem(_put(tmp_path, "a", content)) is None
    assert asset.problem(_put(tmp_path, "a", content[:-1] + b"\0")) is not None


def test_names_are_unique():
    assert len({asset.name for asset in assets.ASSETS}) == len(ASSETS)
