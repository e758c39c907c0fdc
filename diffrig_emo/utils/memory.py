"""Peak memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


def peak_memory_gb() -> float:
    """Most memory that this process has held at once, in GiB: RAM, plus what PyTorch allocated on a GPU.

    Worker processes are not included.

    Example:
        >>> peak_memory_gb() > 0
        True
    """
    on_gpu = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return (_peak_ram() + on_gpu) / 2**30


def reset_peak_memory() -> None:
    """Start a new peak, where the system allows it (Linux, CUDA); elsewhere the old peak stays."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_ram() -> int:
    if _STATUS.is_file():
        # getrusage would also count what a parent process held before it started this one.
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
