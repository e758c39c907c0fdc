"""Official files become plain ones that every reader takes for them."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors import safe_open

from diffrig_emo.cli import main
from diffrig_emo.diffusion import ConditionedUNet, ResNet18GlobalEncoder, VectorModulation
from diffrig_emo.diffusion.diffusionrig_files import read_diffusionrig, write_diffusionrig
from diffrig_emo.io.mean_shape import read_mean_shape
from diffrig_emo.io.npz import read_npz
from diffrig_emo.morphable.flame import FLAME
from diffrig_emo.morphable.official_weights import read_official
from diffrig_emo.morphable.texture import FlameTexture
from diffrig_emo.utils.assets import ASSETS, AssetNotFoundError, file_sha256, find_asset
from diffrig_emo.workflows.convert import _CONVERTERS, convert
from tests.parity.make_fake_flame import build

EMOCA = "EMOCA/models/EMOCA_v2_lr_mse_20"


@pytest.fixture(autouse=True)
def _somewhere_else(monkeypatch, tmp_path):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@contextlib.contextmanager
def lightning_callback():
    """A class that can be pickled, and is not there when it is read, as Lightning 1.4's."""
    module = types.ModuleType("pytorch_lightning.callbacks.of_1_4")
    found = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = found
    sys.modules[module.__name__] = module
    try:
        yield found
    finally:
        del sys.modules[module.__name__]


def write_emoca(folder, width=50, flags=None):
    path = folder / "detail" / "checkpoints" / "deca-epoch=10-val_loss" / "dataloader_idx_0=3.25.ckpt"
    path.parent.mkdir(parents=True)
    state = {
        "deca.E_flame.layers.2.weight": torch.randn(236, 2),
        "deca.E_expression.layers.2.weight": torch.randn(width, 2),
        "deca.flame.v_template": torch.zeros(5023, 3),
    }
    with lightning_callback() as callback:
        torch.save({"state_dict": state, "callbacks": {callback: {}}}, path)
    if flags:
        model = dict(zip(("exp_deca_global_pose", "exp_deca_jaw_pose"), flags, strict=True))
        (folder / "cfg.yaml").write_text(json.dumps({"detail": {"model": model}}))
    return path


def write_deca(path):
    parts = {name: OrderedDict(weight=torch.randn(3, 2)[:, :1].expand(3, 4)) for name in ("E_flame", "E_detail")}
    torch.save({**parts, "opt": {"state": {0: torch.zeros(1000)}}, "global_step": 7}, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One small file of every kind, in the official formats."""
    out = build(tmp_path_factory.mktemp("official"), components=3, tex_size=16)
    with np.load(out / "FLAME_texture.npz") as texture:
        mean, components = texture["mean"] / 255, texture["tex_dir"] / 255
    np.savez(out / "FLAME_albedo_from_BFM.npz", MU=mean.reshape(1, -1), PC=components.reshape(-1, 3))
    write_deca(out / "deca_model.tar")
    write_emoca(out / EMOCA)
    unet = ConditionedUNet(
        image_size=16,
        base_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(8,),
        spatial_channels=9,
        vectors=[VectorModulation("global", 64)],
    )
    write_diffusionrig(out / "DiffusionRig" / "model050000.pt", unet, ResNet18GlobalEncoder(64))
    (out / "mean_shape.pkl").write_bytes(pickle.dumps(torch.randn(1, 100)))
    return out


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_reader_takes_the_converted_file_for_the_official_one(folder, tmp_path, capsys):
    out = tmp_path / "converted"
    written = convert(str(out), assets=str(folder))
    text = capsys.readouterr().out
    assert set(written) == {
        *("flame", "landmark_embedding", "flame_texture", "bfm_albedo"),
        *("deca", "emoca", "diffusionrig", "mean_shape"),
    }
    assert names(out) == sorted(path.name for path in written.values())
    assert "head_template.obj: read as it is" in text
    assert f"generic_model.pkl: converted to {out / 'flame2020.npz'}" in text
    assert "Licence: FLAME 2020: MPI, non-commercial research" in text

    # In place of the official ones.
    (out / "head_template.obj").symlink_to(folder / "head_template.obj")
    for ours, theirs in (
        (FLAME.from_folder(out), FLAME.from_folder(folder)),
        *((FlameTexture(out, 2, 16, kind=kind), FlameTexture(folder, 2, 16, kind=kind)) for kind in ("flame", "bfm")),
    ):
        for (name, a), (_, b) in zip(ours.named_buffers(), theirs.named_buffers(), strict=True):
            assert torch.equal(a, b), name
    checkpoint = next((folder / EMOCA).rglob("*.ckpt"))
    for name, source in (("deca", folder / "deca_model.tar"), ("emoca", checkpoint)):
        ours, theirs = read_official(written[name]).components, read_official(source).components
        assert ours.keys() == theirs.keys()
        for part in ours:
            assert ours[part].keys() == theirs[part].keys()
            assert all(torch.equal(ours[part][key], theirs[part][key]) for key in ours[part])
    assert set(read_official(written["emoca"]).components) == {"E_flame", "E_expression"}
    for ours, theirs in zip(
        read_diffusionrig(written["diffusionrig"]),
        read_diffusionrig(folder / "DiffusionRig" / "model050000.pt"),
        strict=True,
    ):
        state = theirs.state_dict()
        assert all(torch.equal(tensor, state[name]) for name, tensor in ours.state_dict().items())
    assert torch.equal(read_mean_shape(written["mean_shape"]), read_mean_shape(folder / "mean_shape.pkl"))

    # Each says whose it is.
    sources = {asset.name: find_asset(asset.name, [folder]) for asset in ASSETS} | {"emoca": checkpoint}
    for asset in ASSETS:
        if asset.name in written:
            notes = notes_of(written[asset.name])
            assert notes["licence"] == asset.licence
            assert notes["source"] == sources[asset.name].name
            assert notes["source_sha256"] == file_sha256(sources[asset.name])


def notes_of(path):
    if path.suffix == ".npz":
        return read_npz(path).notes
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def only(folder, tmp_path, *files):
    """A folder with links to some of the files."""
    few = tmp_path / "few"
    few.mkdir()
    for file in files:
        (few / file).symlink_to(folder / file)
    return few


def test_nothing_is_overwritten_unless_asked(folder, tmp_path, capsys):
    few, out = only(folder, tmp_path, "landmark_embedding.npy"), tmp_path / "out"
    out.mkdir()
    target = out / "landmark_embedding.npz"
    target.write_bytes(b"mine")
    assert convert(str(out), assets=str(few)) == {}
    assert target.read_bytes() == b"mine"
    assert f"skipped, {target} exists (--overwrite replaces it)" in capsys.readouterr().out
    assert convert(str(out), assets=str(few), overwrite=True) == {"landmark_embedding": target}
    assert "full_lmk_faces_idx" in read_npz(target).arrays


def test_what_cannot_be_read_is_skipped_by_name_and_leaves_nothing(folder, tmp_path, capsys):
    few, out = only(folder, tmp_path, "landmark_embedding.npy"), tmp_path / "out"
    flag = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {flag}",)

    (few / "generic_model.pkl").write_bytes(pickle.dumps(Evil()))
    (few / "mean_shape.pkl").write_bytes(pickle.dumps(Evil()))
    (few / "FLAME_texture.npz").write_bytes(b"PK\x03\x04 half")
    torch.save({"E_flame": {}, "x": Evil()}, few / "deca_model.tar")
    (few / "checkpoints").mkdir()
    torch.save({"a": Evil()}, few / "checkpoints" / "model000001.pt")
    (few / EMOCA).mkdir(parents=True)
    assert set(convert(str(out), assets=str(few))) == {"landmark_embedding"}
    assert not flag.exists()
    assert names(out) == ["landmark_embedding.npz"]
    lines = capsys.readouterr().out.splitlines()
    for name, reason in (
        ("generic_model.pkl", f"refused, because it wants to use {os.name}.system"),
        ("mean_shape.pkl", f"refused, because it wants to use {os.name}.system"),
        ("FLAME_texture.npz", "cannot be read as a .npz file"),
        ("deca_model.tar", f"refused, because it wants to use {os.name}.system"),
        ("model000001.pt", f"refused, because it wants to use {os.name}.system"),
        ("EMOCA_v2_lr_mse_20", "no checkpoint of EMOCA was found"),
    ):
        (line,) = [line for line in lines if f"{name}: skipped" in line]
        assert reason in line


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        (
            "deca_model.tar",
            {"E_flame": OrderedDict(a=torch.ones(1)), "E_expression": OrderedDict(a=torch.ones(1))},
            "It holds EMOCA's networks",
        ),
        ("deca_model.tar", {"D_detail": OrderedDict(a=torch.ones(1))}, "It lacks E_flame"),
        ("deca_model.tar", {"denoisingUNet.out.0.weight": torch.ones(1)}, "a model of DiffusionRig"),
        ("checkpoints/model1.pt", {"E_flame": OrderedDict(a=torch.ones(1))}, "got E_flame"),
        ("checkpoints/model1.pt", {"encoder.a": torch.ones(1), "denoisingUNet.a": 3}, "got denoisingUNet, encoder"),
    ],
)
def test_swapped_files_are_told(tmp_path, capsys, file, content, reason):
    (tmp_path / "few" / "checkpoints").mkdir(parents=True)
    torch.save(content, tmp_path / "few" / file)
    assert convert(str(tmp_path / "out"), assets=str(tmp_path / "few")) == {}
    assert reason in capsys.readouterr().out


def test_an_emoca_whose_settings_would_be_lost_stays_as_it_is(tmp_path, capsys):
    write_emoca(tmp_path / "few" / EMOCA, width=53, flags=(True, False))
    assert convert(str(tmp_path / "out"), assets=str(tmp_path / "few")) == {}
    assert "which says that it predicts the global rotation, would be lost" in capsys.readouterr().out


def test_another_flame_under_2020s_name_is_not_converted_to_2020(folder, tmp_path, capsys):
    few = only(folder, tmp_path, "generic_model.pkl")
    content = {"supr_expression_metadata": {}, "weights": np.ones((3, 5))}
    (few / "generic_model.pkl").unlink()
    (few / "generic_model.pkl").write_bytes(pickle.dumps(content))
    assert convert(str(tmp_path / "out"), assets=str(few)) == {}
    assert "those of flame2023_open, not of flame2020: rename it" in capsys.readouterr().out


def test_no_files_no_success(tmp_path):
    with pytest.raises(AssetNotFoundError, match=r"no official file was found in .*doctor"):
        convert(str(tmp_path / "out"))
    with pytest.raises(AssetNotFoundError, match=r"assets: expected a folder with official files, but .* is none"):
        convert(str(tmp_path / "out"), assets=str(tmp_path / "nowhere"))
    assert not (tmp_path / "out").exists()


def test_on_the_command_line_into_a_folder_that_is_searched(folder, tmp_path, monkeypatch, capsys):
    few = only(folder, tmp_path, "generic_model.pkl", "landmark_embedding.npy", "head_template.obj")
    main(["convert", "--output", "assets", "--assets", str(few)])
    assert names(tmp_path / "cwd" / "assets") == ["flame2020.npz", "landmark_embedding.npz"]
    assert find_asset("flame").name == "flame2020.npz"
    assert "converted to" in capsys.readouterr().out


def test_every_asset_with_a_converted_name_has_a_converter():
    assert set(_CONVERTERS) == {asset.name for asset in ASSETS if asset.converted}
    converted = [asset.converted for asset in ASSETS if asset.converted]
    assert len(set(converted)) == len(converted)
