"""Write the tables of `docs/results` from the figures beside them: `python docs/config/results.py`.

A page names its file and columns in a marker, and everything up to the end marker is made:

    <!-- table: study.json | psnr ssim -->
    <!-- end -->

A file is `{row: {column: {mean, std, n}}}`, or plain numbers in their place.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
BLOCK = re.compile(r"(<!-- table: (\S+) \| ([^\n]+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)


def table(figures: dict[str, dict[str, Any]], columns: list[str]) -> str:
    """A Markdown table: a row per system that has any of the columns, `mean ± std` per column."""
    head = ["", *(c.replace("_", " ") for c in columns)]
    lines = [head, ["---", *("--:" for _ in columns)]]
    shown = {name: row for name, row in figures.items() if any(row.get(c) is not None for c in columns)}
    lines += [[f"`{name}`", *(cell(row.get(c)) for c in columns)] for name, row in shown.items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: Any) -> str:
    """One figure, with its deviation where there are several runs."""
    if value is None:
        return ""
    if not isinstance(value, dict):
        return digits(value)
    shown = digits(value["mean"])
    return shown if value["n"] < 2 else f"{shown} ± {digits(value['std'], powers=False)}"


def digits(value: float, powers: bool = True) -> str:
    """Two decimals from ten on, three below, and with `powers` a power of ten where those would all be zero."""
    if powers and 0 < abs(value) < 0.0005:
        return f"{value:.1e}"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def filled(page: str) -> str:
    """A page with its tables as the figures have them now."""

    def fill(match: re.Match[str]) -> str:
        figures = json.loads((RESULTS / match[2]).read_text(encoding="utf-8"))
        return match[1] + table(figures, match[3].split()) + match[4]

    return BLOCK.sub(fill, page)


if __name__ == "__main__":
    for path in sorted(RESULTS.glob("*.md")):
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
