"""Peak memory of this process, and of one call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

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


def added_memory(run: Callable[[], object]) -> int:
    """Most bytes that tensors held at once during a call, above what stood before it.

    Exact, and the same on every run: every block is counted by PyTorch's own allocators, as it is taken and as it is
    given back. The size of the process would show instead what the system's allocator keeps, and nothing where a
    call fits into memory that earlier ones have freed. Blocks of before that are freed during the call are
    not deducted on the CPU. What oneDNN takes for itself inside one convolution goes uncounted.

    Args:
        run: the call; call it once before, so that what it makes once and keeps is not counted.

    Example:
        >>> def run() -> None:
        ...     a = torch.zeros(500)
        ...     del a
        ...     torch.zeros(1000)
        >>> added_memory(run)
        4000
    """
    on_gpu = torch.cuda.is_available()
    before = 0
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    assert profiler.profiler is not None
    events = [
        event
        for event in profiler.profiler.kineto_results.events()
        if event.name() == "[memory]" and event.device_type() == torch.autograd.DeviceType.CPU  # type: ignore[attr-defined]
    ]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak + (torch.cuda.max_memory_allocated() - before if on_gpu else 0)


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
