"""Peak memory rises with what is held, and stays after it is freed; a call's is counted to the byte."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from diffrig_emo.utils.memory import added_memory

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


def test_a_call_adds_what_it_holds_at_once_and_not_what_it_holds_in_turn():
    kept = []

    def run():
        first = torch.empty(1000)
        second = torch.empty(500)
        del first
        kept.append(torch.empty(100))
        third = torch.empty(250)
        del second, third

    assert added_memory(run) == 4 * 1500
    assert added_memory(run) == 4 * 1500  # what the first call kept stood before the second
    assert added_memory(lambda: None) == 0


def test_a_backward_pass_adds_activations_and_gradients():
    x, ones = torch.randn(1000, requires_grad=True), torch.ones(1000)

    def run():
        x.tanh().tanh().tanh().backward(ones)

    # Three outputs, and beside them the gradients of one input and of the next.
    assert added_memory(run) == 4000 * 5
