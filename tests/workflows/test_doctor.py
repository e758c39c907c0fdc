"""The doctor's report: complete, and right about files that are there, absent, or truncated."""

from __future__ import annotations

import dataclasses
import re
import sys
import types

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diffrig_emo.io.npz import write_npz
from diffrig_emo.utils import assets as assets_module
from diffrig_emo.utils.assets import ASSETS, file_sha256
from diffrig_emo.workflows import doctor as doctor_module
from diffrig_emo.workflows.doctor import doctor
from tests.parity.make_fake_flame import build


@pytest.fixture
def report(capsys, monkeypatch, tmp_path):
    """Run the doctor in an empty folder and give its output without line breaks inside cells."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor_module, "_LOG_WIDTH", 400)

    def run():
        doctor()
        return capsys.readouterr().out

    return run


def test_it_tells_versions_device_precision_and_backends(report):
    text = report()
    for part in (torch.__version__, "lightning", "precision", "TorchRasterizer", "pytorch3d", "pip install"):
        assert part in text
    assert 'pip install "diffrig_emo[latent]"' in text


def rows(text, file):
    """Cells of the tables' rows about one file."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line]
    return [row for row in cells if row and row[0].endswith(file)]


def test_an_empty_machine_is_told_what_there_is_to_get(report):
    text = report()
    assert text.count("not found") == len(ASSETS)
    for asset in ASSETS:
        assert any(
            row[1:] == ["not found", asset.unlocks, asset.source, asset.licence] for row in rows(text, asset.file)
        )
    flame = "head_template.obj, landmark_embedding.npy"
    assert f"FLAME: cannot be used yet, missing: generic_model.pkl (or another version), {flame}" in text
    assert f"DECA: cannot be used yet, missing: deca_model.tar, generic_model.pkl, {flame}" in text
    assert "EMOCA: cannot be used yet, missing: EMOCA_v2_lr_mse_20 (or another version), generic_model.pkl" in text
    assert "DiffusionRig: cannot be used yet, missing: DiffusionRig/model*.pt (or another version), FLAME_text" in text
    assert "Metrics: each file unlocks what it says, the others are not needed for it" in text
    assert "licences.md" in text
    assert "demo" in text


def put(path, content=b"any"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_fakes_in_the_official_formats_are_found_and_used(report, tmp_path):
    """As a machine with the EMO project's two folders looks, but for the files' contents."""
    build(tmp_path / "data", components=1, tex_size=8)
    deca = put(tmp_path / "data" / "deca_model.tar")
    put(tmp_path / "assets/EMOCA/models/EMOCA_v2_mp/detail/checkpoints/deca-epoch=11/idx_0=3.25.ckpt")
    (tmp_path / "assets/EMOCA/models/EMOCA_v2_lr_mse_20").mkdir(parents=True)
    put(tmp_path / "data" / "checkpoints" / "model050000.pt")
    text = report()
    assert text.count(": all that it needs is there") == 4
    assert rows(text, "deca_model.tar")[0][1:4:2] == ["found", str(deca)]
    for file in ("generic_model.pkl", "landmark_embedding.npy", "head_template.obj"):
        state = rows(text, file)[0][1]
        assert state.startswith("found, but not the official file: it has ")
        assert state.endswith("another version. It is used all the same")
    assert rows(text, "EMOCA_v2_mp")[0][1] == "found"
    empty = rows(text, "EMOCA_v2_lr_mse_20")[0][1]
    assert empty == "found, but it holds no */checkpoints/**/*.ckpt: unpack the download with its folders"
    assert rows(text, "FLAME_texture.npz")[0][1] == "found"
    assert rows(text, "flame2023.pkl")[0][1] == "not found"


def test_truncated_and_empty_files(report, tmp_path):
    put(tmp_path / "assets" / "generic_model.pkl", b"short")
    put(tmp_path / "assets" / "deca_model.tar", b"")
    text = report()
    assert "found, but not the official file: it has 5 bytes instead of 53,023,716: truncated" in text
    assert rows(text, "deca_model.tar")[0][1] == "found, but it is empty"
    assert "DECA: cannot be used yet, missing: deca_model.tar, head_template.obj" in text


def test_flame_2023_under_2020s_name_is_no_flame_for_deca(report, tmp_path, monkeypatch):
    build(tmp_path / "data", components=1, tex_size=8)
    put(tmp_path / "data" / "deca_model.tar")
    digest = file_sha256(tmp_path / "data" / "generic_model.pkl")
    table = tuple(dataclasses.replace(a, sha256=digest) if a.name == "flame2023" else a for a in ASSETS)
    monkeypatch.setattr(assets_module, "ASSETS", table)
    text = report()
    wanted = "found, but it is flame2023.pkl (FLAME 2023) under another name, whose codes are of space 'flame2023'"
    assert rows(text, "generic_model.pkl")[0][1] == wanted
    assert "DECA: cannot be used yet, missing: generic_model.pkl\n" in re.sub(r" +\n", "\n", text)


def test_official_files_are_called_so(report, tmp_path, monkeypatch):
    path = put(tmp_path / "data" / "generic_model.pkl")
    official = dataclasses.replace(ASSETS[0], size=3, sha256=file_sha256(path))
    for module in (assets_module, doctor_module):
        monkeypatch.setattr(module, "ASSETS", (official, *ASSETS[1:]))
    assert rows(report(), "generic_model.pkl")[0][1] == "found, the official file"


def test_converted_files_name_their_source_and_grow_stale(report, tmp_path):
    official = put(tmp_path / "data" / "landmark_embedding.npy")
    notes = {"source": "landmark_embedding.npy", "source_sha256": file_sha256(official)}
    write_npz(tmp_path / "data" / "landmark_embedding.npz", {"x": np.zeros(1)}, notes)
    save_file({"x": torch.zeros(1)}, tmp_path / "data" / "deca.safetensors", {"source": "deca_model.tar"})
    put(tmp_path / "data" / "flame2020.npz", b"PK\x03\x04")
    text = report()
    assert rows(text, "landmark_embedding.npy")[0][1] == "found, converted from landmark_embedding.npy"
    assert rows(text, "deca_model.tar")[0][1] == "found, converted from deca_model.tar"
    assert "cannot be read" in rows(text, "generic_model.pkl")[0][1]
    official.write_bytes(b"newer")
    assert "but not from data/landmark_embedding.npy as it is now: convert again with --overwrite" in report()
    official.unlink()
    words = "found, converted from landmark_embedding.npy, which was not the official file"
    assert rows(report(), "landmark_embedding.npy")[0][1] == words


def test_an_importable_pytorch3d_is_ready(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d", types.ModuleType("pytorch3d"))
    monkeypatch.setitem(sys.modules, "pytorch3d._C", types.ModuleType("pytorch3d._C"))
    monkeypatch.setattr(doctor_module, "_version", lambda package: "0.7.9")
    assert "ready, version 0.7.9" in report()


def test_a_broken_pytorch3d_says_so(report, monkeypatch, tmp_path):
    package = tmp_path / "site" / "pytorch3d"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "_C.py").write_text("raise ImportError('undefined symbol')")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delitem(sys.modules, "pytorch3d", raising=False)
    text = report()
    assert "installed but broken (undefined symbol)" in text
    monkeypatch.delitem(sys.modules, "pytorch3d", raising=False)


def test_without_pytorch3d_it_tells_how_to_get_it(report, monkeypatch):
    def absent(module):
        raise ModuleNotFoundError(f"No module named {module!r}", name="pytorch3d")

    monkeypatch.setattr(doctor_module.importlib, "import_module", absent)
    assert "github.com/facebookresearch/pytorch3d" in report()
