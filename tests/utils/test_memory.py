"""Peak memory rises with what is held, and stays after it is freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own: what the system takes back from a large one would count too.
SCRIPT = """
import torch
from diffrig_emo.utils.memory import peak_memory_gb, reset_peak_memory
reset_peak_memory()
before = peak_memory_gb()
held = torch.ones(2**26)  # 0.25 GiB
del held
risen = peak_memory_gb() - before
reset_peak_memory()
print(risen, peak_memory_gb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can start a new peak")
def test_the_peak_is_what_was_held():
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    risen, fallen = map(float, run.stdout.split())
    assert risen == pytest.approx(0.25, abs=0.05)
    assert fallen == pytest.approx(0, abs=0.05)
