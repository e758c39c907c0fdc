"""Run every `bench_*.py` beside this file and print one table; the figures also go to build/bench.json.

A bench file has one function:

    def benchmarks() -> dict[str, Callable[[], object] | dict]:

A callable is warmed up and timed here (best of several, milliseconds). A dictionary `{"value": ..., "unit": ...}` is
a figure that the file measured itself (a ratio, samples per second). Every file runs in a process of its own, so that
memory and its settings are its own too. Every figure stands beside a fixed float32
matmul timed right before it in the same process, so that runs on busy or different machines can be compared.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from diffrig_emo.utils.memory import peak_memory_gb, reset_peak_memory

HERE = Path(__file__).parent
OUTPUT = HERE.parents[1] / "build" / "bench.json"
SIDE = 1024
SECONDS = 3.0
"""Time spent on one figure, at least three calls."""


def best_ms(run: Callable[[], object], seconds: float = SECONDS) -> float:
    """Best wall time of a call in milliseconds, after one warm-up."""
    _timed(run)
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        times.append(_timed(run))
    return 1000 * min(times)


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def load(path: Path) -> Callable[[], Mapping[str, Any]]:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.benchmarks


def measure(path: Path, matmul: Callable[[], object]) -> dict[str, dict[str, Any]]:
    """Figures of one file: value, unit, matmul of the same minute, peak memory while they were taken."""
    figures = {}
    matmul_ms = best_ms(matmul, seconds=0.3)
    reset_peak_memory()
    found = load(path)()
    beside = {"matmul_ms": matmul_ms, "peak_memory_gb": peak_memory_gb()}
    for name, what in found.items():
        if callable(what):
            matmul_ms = best_ms(matmul, seconds=0.3)
            reset_peak_memory()
            value = best_ms(what)
            figures[name] = {"value": value, "unit": "ms", "matmul_ms": matmul_ms, "peak_memory_gb": peak_memory_gb()}
        else:
            figures[name] = {**what, **beside}
    return figures


def show(name: str, figure: Mapping[str, Any]) -> tuple[str, ...]:
    matmuls = f"{figure['value'] / figure['matmul_ms']:.1f}" if figure["unit"] == "ms" else ""
    value, unit = f"{figure['value']:,.2f}", str(figure["unit"])
    return name, value, unit, f"{figure['matmul_ms']:.2f}", matmuls, f"{figure['peak_memory_gb']:.2f}"


def measure_apart(path: Path, threads: int) -> dict[str, dict[str, Any]]:
    """The same in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "figures.json"
        subprocess.run([sys.executable, __file__, path.stem, f"--threads={threads}", f"--into={answer}"], check=True)
        return json.loads(answer.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="parts of file names; none runs all files")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="CPU threads")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # what measure_apart asks for
    options = parser.parse_args()
    if options.into is not None:
        torch.set_num_threads(options.threads)
        left, right = torch.randn(2, SIDE, SIDE)
        options.into.write_text(json.dumps(measure(HERE / f"{options.names[0]}.py", lambda: left @ right)))
        return
    console = Console(width=max(Console().width, 120))
    table = Table(title=f"torch {torch.__version__}, {options.threads} threads", title_justify="left")
    for column in ("benchmark", "value", "unit", f"matmul {SIDE}², ms", "in matmuls", "peak memory, GiB"):
        table.add_column(column, justify="left" if column in ("benchmark", "unit") else "right")
    figures: dict[str, dict[str, Any]] = {}
    for path in sorted(HERE.glob("bench_*.py")):
        if options.names and not any(name in path.stem for name in options.names):
            continue
        console.print(f"{path.name} ...")
        for name, figure in measure_apart(path, options.threads).items():
            if name in figures:
                raise SystemExit(f"{path.name}: the name {name!r} is taken by another file; rename one")
            figures[name] = figure
            table.add_row(*show(name, figure))
    console.print(table)
    OUTPUT.parent.mkdir(exist_ok=True)
    flat = {name: {"value": f["value"], "unit": f["unit"]} for name, f in figures.items()}
    flat |= {f"{name}/peak_memory": {"value": f["peak_memory_gb"], "unit": "GiB"} for name, f in figures.items()}
    flat |= {f"{name}/matmul_{SIDE}": {"value": f["matmul_ms"], "unit": "ms"} for name, f in figures.items()}
    OUTPUT.write_text(json.dumps(flat, indent=2) + "\n")
    console.print(f"Written to {OUTPUT}")


if __name__ == "__main__":
    main()
