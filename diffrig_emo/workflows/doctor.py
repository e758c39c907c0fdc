"""`diffrig-emo doctor`: what this machine has, what the library makes of it, what is missing and where to get it."""

from __future__ import annotations

import importlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePosixPath

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from diffrig_emo.utils.assets import ASSETS, ENVIRONMENT, find_asset, search_folders
from diffrig_emo.utils.devices import bf16_is_fast, choose_device, choose_precision

_PACKAGES = ("diffrig_emo", "torchvision", "lightning", "torchmetrics", "timm", "numpy", "jsonargparse")
_LOG_WIDTH = 160
"""Columns in a log file or a pipe, where rich would squeeze the tables into 80."""
_OPTIONAL = {"diffusers": "latent", "open_clip_torch": "latent", "onnxruntime": "emotion", "mediapipe": "detectors"}


def doctor() -> None:
    """Print versions, device and precision, rasterizer backends and the official assets found."""
    console = Console(width=None if Console().is_terminal else _LOG_WIDTH, markup=False)
    for table in (_versions(), _device(), _rasterizers(), _assets()):
        console.print(table)
    console.print(
        Text("Nothing is missing for `diffrig-emo demo`: it needs no licensed file. Searched for assets: ")
        + Text(", ".join(str(folder) for folder in search_folders()))
        + Text(f" (set {ENVIRONMENT} to add folders).")
    )


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _versions() -> Table:
    table = _table("Versions", "package", "version")
    table.add_row("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for package in _PACKAGES:
        table.add_row(package, _version(package) or "missing")
    table.add_row("torch", torch.__version__)  # with its build: +cpu, +cu132
    for package, extra in _OPTIONAL.items():
        table.add_row(package, _version(package) or f'not installed (optional: pip install "diffrig_emo[{extra}]")')
    return table


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _device() -> Table:
    device = choose_device()
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        memory = f"{torch.cuda.get_device_properties(device).total_memory / 2**30:.0f} GiB"
    else:
        name, memory = platform.processor() or platform.machine(), _system_memory()
    fast = bf16_is_fast(device)
    reason = "bfloat16 runs in hardware" if fast else "bfloat16 would be emulated here, slower than float32"
    table = _table("Device", "what", "found")
    table.add_row("device", f"{device} ({name}, {memory})")
    table.add_row("CPU threads", f"{torch.get_num_threads()} of {os.cpu_count()}")
    table.add_row("precision", f"{choose_precision(device)}: {reason}")
    return table


def _system_memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (AttributeError, ValueError, OSError):  # not on Windows
        return "memory unknown"


def _rasterizers() -> Table:
    table = _table("Rasterizer backends", "backend", "state", "class")
    table.add_row("torch", "ready: pure PyTorch, any device", "TorchRasterizer (default)")
    table.add_row("pytorch3d", _pytorch3d_state(), "Pytorch3dRasterizer (when asked for)")
    return table


def _pytorch3d_state() -> str:
    try:
        importlib.import_module("pytorch3d._C")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "pytorch3d":
            return (
                "not installed, and not needed; build it against your torch: "
                'pip install --no-build-isolation "git+https://github.com/facebookresearch/pytorch3d.git@stable"'
            )
        return f"installed but broken ({error}); rebuild it against torch {torch.__version__}"
    return f"ready, version {_version('pytorch3d')}"


def _assets() -> Table:
    table = _table(
        "Official assets (optional; licensed, so you get them yourself)", "file", "state", "unlocks", "where"
    )
    for asset in ASSETS:
        path = find_asset(asset.name)
        if path is None:
            table.add_row(
                str(PurePosixPath(asset.folders[0], asset.file)),
                "not found",
                asset.unlocks,
                f"{asset.source}; {asset.licence}",
            )
        else:
            table.add_row(asset.file, _state(asset.problem(path)), asset.unlocks, str(path.resolve()))
    return table


def _state(problem: str | None) -> str:
    return "found" if problem is None else f"found, but it {problem}"
