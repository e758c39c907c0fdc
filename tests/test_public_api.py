"""The public names: all there, lazily, and nothing else."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import diffrig_emo

NAMES = [name for name in diffrig_emo.__all__ if not name.startswith("__")]


@pytest.mark.parametrize("name", diffrig_emo.__all__)
def test_every_name_resolves(name):
    assert getattr(diffrig_emo, name) is not None


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_documented(name):
    assert (getattr(diffrig_emo, name).__doc__ or "").strip()


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(diffrig_emo.__file__).read_text())
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in guarded.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert sorted(seen) == sorted(NAMES)
    for name, module in seen.items():
        assert getattr(importlib.import_module(module), name) is getattr(diffrig_emo, name)


def test_dir_is_all():
    assert dir(diffrig_emo) == sorted(diffrig_emo.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'diffrig_emo' has no attribute 'DiffusionRig'"):
        diffrig_emo.DiffusionRig  # noqa: B018


def test_version_is_that_of_the_installed_package():
    assert diffrig_emo.__version__ == importlib.metadata.version("diffrig_emo")


def test_importing_it_imports_nothing_heavy():
    script = (
        "import sys; before = set(sys.modules); import diffrig_emo; "
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split()) - set(sys.stdlib_module_names)
    assert loaded == {"diffrig_emo"}


def test_structs_cost_no_lightning():
    script = "import sys; from diffrig_emo import FaceCodes; print(sum(m.startswith('lightning') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]
