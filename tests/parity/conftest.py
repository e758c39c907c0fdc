"""Fixtures of the parity tests: the seeded weights and inputs, and synthetic assets in the official formats."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.parity.fake_assets import write_fake_deca, write_fake_emoca

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


@pytest.fixture(scope="session")
def fake_deca_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A `deca_model.tar` of full size, with the weights that the parity numbers were made with."""
    folder = tmp_path_factory.mktemp("fake_deca")
    yield write_fake_deca(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def fake_emoca_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """EMOCA's model folder `EMOCA_v2_lr_mse_20`, likewise; the folder's parent is a folder of models."""
    folder = tmp_path_factory.mktemp("fake_emoca") / "EMOCA_v2_lr_mse_20"
    write_fake_emoca(folder)
    yield folder
    shutil.rmtree(folder)
