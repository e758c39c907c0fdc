"""Peak memory rises with what is held, and stays after it is freed."""

from __future__ import annotations

import sys

import pytest
import torch

from diffrig_emo.utils.memory import peak_memory_gb, reset_peak_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can start a new peak")
def test_the_peak_is_what_was_held():
    reset_peak_memory()
    before = peak_memory_gb()
    held = torch.ones(2**26)  # 0.25 GiB
    del held
    assert peak_memory_gb() - before == pytest.approx(0.25, abs=0.05)
    reset_peak_memory()
    assert peak_memory_gb() - before == pytest.approx(0, abs=0.05)
