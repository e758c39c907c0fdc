"""`diffrig-emo doctor`: what this machine has, what the library makes of it, what is missing and where to get it."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from safetensors import SafetensorError, safe_open

from diffrig_emo.io.npz import read_notes
from diffrig_emo.utils.assets import (
    ASSETS,
    ENVIRONMENT,
    NEEDS,
    Asset,
    difference,
    file_sha256,
    find_asset,
    identify,
    search_folders,
)
from diffrig_emo.utils.devices import bf16_is_fast, choose_device, choose_precision

_PACKAGES = ("diffrig_emo", "torchvision", "lightning", "torchmetrics", "timm", "numpy", "jsonargparse")
_LOG_WIDTH = 160
"""Columns in a log file or a pipe, where rich would squeeze the tables into 80."""
_HASHED_AT_MOST = 2**27
"""Bytes of an official file that is worth reading through to see whether a converted one is still that of it."""
_OPTIONAL = {
    "diffusers": "latent",
    "open_clip_torch": "latent",
    "onnxruntime": "emotion",
    "face-alignment": "detectors",
    "mediapipe": "detectors",
    "lmdb": "lmdb",
}


def doctor() -> None:
    """Print versions, device and precision, rasterizer backends, and for each system the official files it needs."""
    console = Console(width=None if Console().is_terminal else _LOG_WIDTH, markup=False)
    for table in (_versions(), _device(), _rasterizers(), *_assets()):
        console.print(table)
    console.print(
        Text("Nothing is missing for `diffrig-emo demo`: it needs no licensed file. Searched for official files: ")
        + Text(", ".join(str(folder) for folder in search_folders()))
        + Text(f" (set {ENVIRONMENT} to add folders). They are licensed, so you get them yourself; what may be done ")
        + Text(
            "with weights made from them: docs/concepts/licences.md. `diffrig-emo convert` rewrites them as plain npz "
        )
        + Text("and safetensors.")
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


def _assets() -> list[Table]:
    """One table for each system: what is there, what is wrong with it, what is missing and where to get it."""
    states = {asset.name: _state(asset) for asset in ASSETS}
    tables = []
    for system, needs in NEEDS.items():
        missing = [group for group in needs if not any(states[name].usable for name in group)]
        verdict = _verdict(missing) if needs else "each file unlocks what it says, the others are not needed for it"
        table = _table(f"{system}: {verdict}", "file", "state", "unlocks", "where", "licence")
        for asset in ASSETS:
            if asset.system == system:
                state = states[asset.name]
                where = asset.source if state.path is None else str(state.path.resolve())
                table.add_row(_label(asset), state.words, asset.unlocks, where, asset.licence)
        tables.append(table)
    return tables


def _verdict(missing: Sequence[tuple[str, ...]]) -> str:
    if not missing:
        return "all that it needs is there"
    labels = {asset.name: _label(asset) for asset in ASSETS}
    groups = [labels[group[0]] + (" (or another version)" if len(group) > 1 else "") for group in missing]
    return f"cannot be used yet, missing: {', '.join(groups)}"


def _label(asset: Asset) -> str:
    return str(PurePosixPath(asset.folders[0], asset.file))


class _State(NamedTuple):
    path: Path | None
    words: str
    usable: bool


def _state(asset: Asset) -> _State:
    path = find_asset(asset.name)
    if path is None:
        return _State(None, "not found", False)
    if path.name == asset.converted:
        return _converted_state(asset, path)
    differs = difference(asset, path)
    if differs is None:
        return _State(path, "found" if asset.sha256 is None else "found, the official file", True)
    if path.is_dir() or not path.stat().st_size:
        return _State(path, f"found, but it {differs}", False)
    known = identify(path)
    if known is not None and known.space != asset.space:
        return _State(path, f"found, but it {differs}", False)
    return _State(path, f"found, but not the official file: it {differs}. It is used all the same", True)


def _converted_state(asset: Asset, path: Path) -> _State:
    try:
        notes = _notes(path)
    except (ValueError, OSError, SafetensorError) as error:
        return _State(path, f"found, but cannot be read ({error})", False)
    words = f"found, converted from {notes.get('source', 'an unknown file')}"
    digest = notes.get("source_sha256")
    official = find_asset(asset.name, converted=False)
    if official is not None and official.is_file() and official.stat().st_size <= _HASHED_AT_MOST:
        if file_sha256(official) != digest:
            again = f"convert again with --overwrite, or remove {path.name}"
            return _State(path, f"{words}, but not from {official} as it is now: {again}", True)
    elif asset.sha256 is not None and digest != asset.sha256:
        words += ", which was not the official file"
    return _State(path, words, True)


def _notes(path: Path) -> dict[str, str]:
    if path.suffix == ".npz":
        return read_notes(path)
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})
