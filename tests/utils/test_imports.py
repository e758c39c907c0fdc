"""Optional packages: the error appears on use and carries its remedy."""

from __future__ import annotations

import json

import pytest

from diffrig_emo.utils.imports import require


def test_it_returns_the_module():
    assert require("json.decoder", purpose="a test", install="nothing") is json.decoder


def test_a_missing_package_says_what_for_and_how_to_get_it():
    with pytest.raises(ImportError, match=r"Rig needs no_such_package.*pip install rig") as error:
        require("no_such_package.part", purpose="Rig", install="pip install rig")
    assert isinstance(error.value.__cause__, ModuleNotFoundError)


def test_a_package_that_is_there_but_broken_keeps_its_own_words(monkeypatch, tmp_path):
    (tmp_path / "broken_build.py").write_text("raise ImportError('undefined symbol: _ZN2at')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="undefined symbol: _ZN2at"):
        require("broken_build", purpose="a test", install="rebuild it")
