"""Precision follows the device: bfloat16 only where it is in hardware."""

from __future__ import annotations

import pytest
import torch

from diffrig_emo.utils import devices


@pytest.mark.parametrize(("flags", "wanted"), [("fpu sse4_2 avx512_bf16", "32-true"), ("fpu amx_bf16", "bf16-mixed")])
def test_cpus_need_amx(monkeypatch, tmp_path, flags, wanted):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name : a CPU\nflags : {flags}\n")
    monkeypatch.setattr(devices, "_CPUINFO", cpuinfo)
    assert devices.choose_precision("cpu") == wanted


def test_a_cpu_that_tells_nothing_gets_float32(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "_CPUINFO", tmp_path / "absent")
    assert devices.choose_precision(torch.device("cpu")) == "32-true"


@pytest.mark.parametrize(
    ("capability", "wanted"), [((7, 5), "32-true"), ((8, 0), "bf16-mixed"), ((9, 0), "bf16-mixed")]
)
def test_gpus_need_capability_8(monkeypatch, capability, wanted):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert devices.choose_precision("cuda:0") == wanted


@pytest.mark.parametrize(
    ("cuda", "mps", "wanted"), [(True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_the_best_device_is_chosen(monkeypatch, cuda, mps, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert devices.choose_device().type == wanted
