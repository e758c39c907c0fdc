"""The study's figures beside the published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from diffrig_emo.workflows.compare.summary import published_table
from diffrig_emo.workflows.emotion.figures import PUBLISHED_COLUMNS

GROUND_TRUTH = "Groundtruth"
"""Row of real photographs of the emotion."""

Row = Mapping[str, float | None]


def side_by_side(results: Mapping[str, Mapping[str, Row]], targets: Sequence[str]) -> str:
    """Ours and the published figures as one Markdown table, an emotion after the other.

    Args:
        results: {system: {emotion: figures}}.
        targets: the emotions, in order.

    Example:
        >>> print(side_by_side({"latent": {"happy": {"accuracy": 0.5, "psnr": 20.0}}}, ["happy"]).splitlines()[2])
        | happy | **latent** | 0.500 | 20.00 | | | |
    """
    methods: dict[str, dict[str, Row]] = published_table()["methods"]
    lines = [f"| emotion | method | {' | '.join(PUBLISHED_COLUMNS)} |", "|---|---|" + "---|" * len(PUBLISHED_COLUMNS)]
    for target in targets:
        for name, rows in results.items():
            lines.append(_line(target, f"**{name}**", rows.get(target, {})))
        for name, published in methods.items():
            if target in published:
                lines.append(_line(target, name, published[target]))
    return "\n".join(lines) + "\n"


def _line(target: str, method: str, row: Row) -> str:
    cells = ["" if row.get(name) is None else _number(name, float(row[name] or 0.0)) for name in PUBLISHED_COLUMNS]
    return f"| {target} | {method} |" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def _number(name: str, value: float) -> str:
    return f"{value:.2f}" if name == "psnr" else f"{value:.3f}"
