"""Where to compute, and in which precision: bfloat16 only where it is faster than float32."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch

Precision = Literal["32-true", "bf16-mixed"]
"""Precision flags of Lightning's Trainer that this library chooses between."""

_CPUINFO = Path("/proc/cpuinfo")


def choose_device() -> torch.device:
    """The accelerator if there is one, else the CPU.

    Example:
        >>> choose_device().type in {"cuda", "mps", "cpu"}
        True
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def choose_precision(device: torch.device | str) -> Precision:
    """The precision to train and sample in on a device.

    Example:
        >>> choose_precision("mps")
        '32-true'
    """
    return "bf16-mixed" if bf16_is_fast(device) else "32-true"


def bf16_is_fast(device: torch.device | str) -> bool:
    """Whether the device has arithmetic units for bfloat16.

    CPUs without Intel's AMX emulate bfloat16, about 20 times slower than float32; GPUs before compute
    capability 8.0 emulate it as well.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        return _cpu_has_amx()
    return False


def _cpu_has_amx() -> bool:
    # PyTorch's own test is private and its name changed between releases; Linux tells it in plain text.
    return _CPUINFO.is_file() and "amx_bf16" in _CPUINFO.read_text(errors="replace")
