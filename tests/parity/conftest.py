"""Fixtures of the parity tests: the seeded weights and inputs, and synthetic assets in the official formats."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def load_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"parity_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def parity_dir() -> Path:
    """The folder of the parity tests; each room's numbers lie in a folder below it."""
    return HERE


@pytest.fixture(scope="session")
def fill() -> ModuleType:
    """The functions that give weights and inputs by name: `fill_state`, `seeded_array`, `seeded_normal`, ..."""
    return load_module("fill")


@pytest.fixture(scope="session")
def fake_flame_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of synthetic assets, in official formats, for which the parity numbers were made."""
    out = tmp_path_factory.mktemp("fake_flame")
    return load_module("make_fake_flame").build(out, seed=7, components=50, chumpy_keys=("shapedirs", "J"))
