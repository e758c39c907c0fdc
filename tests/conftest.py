"""What holds for every test: two threads, fixed seeds, no assets of the user, GPU tests skipped without one."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest
import torch


def pytest_configure(config):
    # More threads than the smallest supported machine has would make timings and memory differ between machines.
    torch.set_num_threads(min(2, os.cpu_count() or 1))


def pytest_collection_modifyitems(items):
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def _fixed_seeds():
    random.seed(0)
    # Libraries under test draw from the legacy global state.
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_user_assets(monkeypatch, tmp_path_factory):
    for name in ("DIFFRIG_EMO_ASSETS", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "empty_cache"))
