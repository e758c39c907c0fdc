"""The doctor's report: complete, and right about files that are there, absent, or truncated."""

from __future__ import annotations

import sys
import types

import pytest
import torch

from diffrig_emo.utils.assets import ASSETS
from diffrig_emo.workflows import doctor as doctor_module
from diffrig_emo.workflows.doctor import doctor


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


def test_every_asset_is_listed_with_its_source(report):
    text = report()
    assert text.count("not found") == len(ASSETS)
    for asset in ASSETS:
        assert asset.source in text
        assert asset.unlocks in text


def test_found_and_truncated_files_are_told_apart(report, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "deca_model.tar").write_bytes(b"any")
    (tmp_path / "assets" / "generic_model.pkl").write_bytes(b"short")
    text = report()
    assert text.count("not found") == len(ASSETS) - 2
    assert "found, but it has 5 bytes instead of 53,023,716: truncated" in text
    assert str(tmp_path / "assets" / "deca_model.tar") in text


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
