"""The tables of a comparison, as rows of text: for the console, and for the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from diffrig_emo.workflows.compare.metrics import Metric
from diffrig_emo.workflows.compare.statistics import Interval
from diffrig_emo.workflows.compare.stopwatch import STAGES
from diffrig_emo.workflows.compare.summary import LEVEL, Summary, published_means, verdicts

_STAGES = {
    "detect": "find the face",
    "crop": "cut it out",
    "encode": "read its codes",
    "render": "render codes",
    "invert": "find its latent",
    "sample": "paint",
    "total": "an edit in all",
}


class TextTable(NamedTuple):
    """A table as text."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    best: list[int | None]
    """Of each row, the column to mark, if any."""
    about: list[str]
    """Of each row, what it says."""


def quality_table(summary: Summary, task: str) -> TextTable:
    """Means with intervals, a row per figure and a column per system.

    Args:
        summary: of the comparison.
        task: "reconstruction" or "edit".
    """
    rows, best, about = [], [], []
    for metric in summary.metrics:
        if metric.task != task:
            continue
        intervals = [figures[metric.name] for figures in summary.means.values()]
        rows.append([heading(metric), *(interval_text(interval, metric.digits) for interval in intervals)])
        best.append(_best(intervals, metric))
        about.append(metric.about)
    title = f"{task.capitalize()}: means over faces, with 95 % confidence intervals"
    return TextTable(title, ["figure", *summary.means], rows, best, about)


def cost_table(summary: Summary) -> TextTable:
    """Time, size and memory, a column per system."""
    rows, about = [], []
    for name, label in (("encoder_parameters", "encoder, M parameters"), ("rig_parameters", "rig, M parameters")):
        rows.append([label, *(f"{costs[name]:.2f}" for costs in summary.costs.values())])
        about.append("parameters in millions")
    rows.append(["memory of an edit, MiB", *(f"{costs['memory']:.1f}" for costs in summary.costs.values())])
    about.append("most that tensors hold at once, above the weights")
    for stage in (*STAGES, "total"):
        if any(stage in costs for costs in summary.costs.values()):
            values = (costs.get(stage) for costs in summary.costs.values())
            rows.append([f"{_STAGES[stage]}, ms", *("" if v is None else f"{v:.1f}" for v in values)])
            about.append("wall clock of one face's edit, median over faces without the first")
    return TextTable("Costs", ["", *summary.costs], rows, [None] * len(rows), about)


def test_table(summary: Summary, first: str, second: str) -> TextTable:
    """The paired tests of two systems."""
    rows, about = [], []
    for c in summary.comparisons:
        if (c.first, c.second) == (first, second):
            label = f"{c.metric.task} {heading(c.metric)}"
            difference = interval_text(c.test.difference, c.metric.digits, sign=True)
            rows.append([label, difference, f"{c.test.effect:+.2f}", _p(c.test.p), _p(c.p_holm), c.verdict])
            about.append(f"{c.test.test}, {c.test.difference.n} faces")
    columns = ["figure", "difference", "effect", "p", "p, Holm", first]
    return TextTable(f"{first} minus {second}, face by face", columns, rows, [None] * len(rows), about)


def pairs_of(summary: Summary) -> list[tuple[str, str]]:
    """Systems that were tested against each other."""
    return list(dict.fromkeys((c.first, c.second) for c in summary.comparisons))


def published_rows(summary: Summary) -> TextTable:
    """The published table: the mean over its emotions, a row per method."""
    columns = {"accuracy": "emotion ↑", "psnr": "PSNR ↑ dB", "ssim": "SSIM ↑", "lpips": "LPIPS ↓", "csim": "CSIM ↑"}
    rows = []
    for method, figures in published_means(summary.published).items():
        cells = [f"{figures[c]:.{2 if c == 'psnr' else 3}f}" if c in figures else "" for c in columns]
        rows.append([f"published: {method}", *cells])
    title = f"{summary.published['title']} (means over six emotions; not measured here)"
    return TextTable(title, ["method", *columns.values()], rows, [None] * len(rows), [""] * len(rows))


def heading(metric: Metric) -> str:
    """A figure's label with the direction in which it is better, and its unit.

    Example:
        >>> heading(Metric("edit_psnr", "PSNR", "edit", True, "dB"))
        'PSNR ↑ dB'
    """
    return f"{metric.label} {'↑' if metric.higher_is_better else '↓'} {metric.unit}".rstrip()


def interval_text(interval: Interval, digits: int, sign: bool = False) -> str:
    """A mean and its bounds.

    Example:
        >>> interval_text(Interval(1.234, 1.0, 1.5, 9), 2)
        '1.23 [1.00, 1.50]'
    """
    if not interval.n:
        return ""
    plus = "+" if sign else ""
    mean = f"{interval.mean:{plus}.{digits}f}"
    if math.isnan(interval.low):
        return mean
    return f"{mean} [{interval.low:{plus}.{digits}f}, {interval.high:{plus}.{digits}f}]"


def print_report(console: Console, summary: Summary, notes: Sequence[str], not_measured: Mapping[str, str]) -> None:
    """Everything on the console; of more than two systems, the tests in words alone."""
    pairs = pairs_of(summary)
    tables = [quality_table(summary, task) for task in ("reconstruction", "edit")]
    tables += [cost_table(summary)]
    tables += [test_table(summary, *pair) for pair in pairs] if len(pairs) == 1 else []
    for table in [*tables, published_rows(summary)]:
        _print(console, table)
    reasons: dict[str, list[str]] = {}
    for name, reason in not_measured.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        console.print(f"not measured: {', '.join(names)}: {reason}", markup=False)
    for note in notes:
        console.print(note, markup=False)
    if pairs:
        console.print(
            f"Paired tests: a difference is called one where p, corrected for all {len(summary.comparisons)} tests, is "
            f"below {LEVEL}. Effects are rank-biserial correlations; all tests are in the report."
        )
    for verdict in verdicts(summary):
        console.print(verdict, markup=False)


def _print(console: Console, table: TextTable) -> None:
    shown = Table(title=table.title, title_justify="left", box=box.SIMPLE_HEAD)
    for i, name in enumerate(table.columns):
        shown.add_column(Text(name), justify="left" if i == 0 else "right", overflow="fold")
    for row, best in zip(table.rows, table.best, strict=True):
        shown.add_row(*(Text(cell, style="bold" if i == best else "") for i, cell in enumerate(row)))
    console.print(shown)


def _best(intervals: Sequence[Interval], metric: Metric) -> int | None:
    """Column of the best mean, counted with the heading's; None where two are alike."""
    means = [interval.mean if metric.higher_is_better else -interval.mean for interval in intervals]
    known = [mean for mean in means if not math.isnan(mean)]
    if len(known) < 2 or known.count(max(known)) > 1:
        return None
    return 1 + means.index(max(known))


def _p(p: float) -> str:
    return "" if math.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"
