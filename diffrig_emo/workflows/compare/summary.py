"""From the runs of all systems to what reports tell."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import statistics
from collections.abc import Mapping
from importlib import resources
from typing import Any

from diffrig_emo.workflows.compare.metrics import METRICS, Metric
from diffrig_emo.workflows.compare.statistics import Interval, PairedTest, holm, mean_interval, paired_test
from diffrig_emo.workflows.compare.stopwatch import typical_seconds
from diffrig_emo.workflows.compare.store import SystemRun, figures_of

LEVEL = 0.05
"""Below this corrected probability a difference is called one."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One figure of two systems on the same faces."""

    metric: Metric
    first: str
    second: str
    test: PairedTest
    """Of the first minus the second."""
    p_holm: float
    """Probability corrected for all tests of the report."""

    @property
    def gain(self) -> float:
        """The effect, positive where the first is the better one."""
        return self.test.effect if self.metric.higher_is_better else -self.test.effect

    @property
    def verdict(self) -> str:
        """Better, worse or no clear difference; of the first."""
        if not self.p_holm < LEVEL or self.gain == 0:
            return "no clear difference"
        return "better" if self.gain > 0 else "worse"


@dataclasses.dataclass(frozen=True)
class Summary:
    """All that a report shows."""

    means: dict[str, dict[str, Interval]]
    """By system and metric; what nobody could measure is not in it."""
    comparisons: list[Comparison]
    """Of each pair of systems, the later one against the earlier one."""
    costs: dict[str, dict[str, float]]
    """By system: millions of parameters, MiB of memory, milliseconds of each stage."""
    published: dict[str, Any]
    """The published table and its source."""

    @property
    def metrics(self) -> list[Metric]:
        """Those that any system has figures of."""
        return [m for m in METRICS if any(figures[m.name].n for figures in self.means.values() if m.name in figures)]


def summarise(runs: Mapping[str, SystemRun], seed: int = 0) -> Summary:
    """Means, tests and costs of all systems.

    Args:
        runs: by name of the system, in the order of reports; all of the same faces.
        seed: of the intervals' resampling.

    Raises:
        ValueError: when the runs are of different faces.
    """
    if len({tuple(run.faces) for run in runs.values()}) > 1:
        raise ValueError("runs: expected the same faces in every run, got different ones")
    means = {
        name: {m.name: mean_interval(figures_of(run, m.name), m.is_share, seed) for m in METRICS}
        for name, run in runs.items()
    }
    comparisons = []
    for (first, one), (second, other) in itertools.combinations(runs.items(), 2):
        for metric in METRICS:
            theirs, ours = figures_of(one, metric.name), figures_of(other, metric.name)
            test = paired_test(ours, theirs, metric.is_share, seed)
            if test.difference.n:
                comparisons.append(Comparison(metric, second, first, test, math.nan))
    corrected = holm([c.test.p for c in comparisons])
    comparisons = [dataclasses.replace(c, p_holm=p) for c, p in zip(comparisons, corrected, strict=True)]
    return Summary(means, comparisons, {name: _costs(run) for name, run in runs.items()}, published_table())


def verdicts(summary: Summary) -> list[str]:
    """A sentence for every pair of systems: where one is better, and what it costs."""
    sentences = []
    pairs = dict.fromkeys((c.first, c.second) for c in summary.comparisons)
    for first, second in pairs:
        own = [c for c in summary.comparisons if (c.first, c.second) == (first, second)]
        parts = []
        for verdict in ("better", "worse"):
            names = [f"{c.metric.task} {c.metric.label}" for c in own if c.verdict == verdict]
            parts.append(f"{verdict} in {len(names)}" + (f" ({'; '.join(names)})" if names else ""))
        unclear = sum(c.verdict == "no clear difference" for c in own)
        ours, theirs = summary.costs[first], summary.costs[second]
        cost = ""
        if theirs.get("total"):
            cost = f" An edit takes {ours['total'] / theirs['total']:.2f} times as long."
        sentences.append(
            f"{first} against {second}: of {len(own)} figures {', '.join(parts)}, no clear difference in "
            f"{unclear}.{cost}"
        )
    return sentences


def power_notes(summary: Summary, num_faces: int) -> list[str]:
    """A sentence where there are too few faces for any difference to be clear, however large.

    Signed ranks of n faces never have a probability below 2 / 2^n, and Holm's correction multiplies the smallest one by
    the number of tests.
    """
    tests = len(summary.comparisons)
    if not tests or tests * 2.0 ** (1 - num_faces) < LEVEL:
        return []
    enough = 1 + math.floor(math.log2(tests / LEVEL) + 1)
    return [
        f"{num_faces} faces are too few for any of the {tests} tests to find a difference, however large; take at "
        f"least {enough}."
    ]


def published_table() -> dict[str, Any]:
    """Figures of emotion editing that a paper has published, and where."""
    path = resources.files("diffrig_emo") / "workflows" / "compare" / "published.json"
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return table


def published_means(table: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By method, the mean of each figure over the emotions that have it.

    Example:
        >>> published_means({"methods": {"a": {"happy": {"psnr": 20.0}, "sad": {"psnr": 22.0}}}})
        {'a': {'psnr': 21.0}}
    """
    means: dict[str, dict[str, float]] = {}
    for method, emotions in table["methods"].items():
        names = dict.fromkeys(name for figures in emotions.values() for name in figures)
        means[method] = {
            name: statistics.fmean(figures[name] for figures in emotions.values() if name in figures) for name in names
        }
    return means


def as_json(summary: Summary) -> dict[str, Any]:
    """The summary as it stands in `compare.json`."""
    known = {m.name for m in summary.metrics}
    return {
        "means": {
            name: {metric: interval._asdict() for metric, interval in figures.items() if metric in known}
            for name, figures in summary.means.items()
        },
        "costs": summary.costs,
        "tests": [
            {
                "metric": c.metric.name,
                "first": c.first,
                "second": c.second,
                "difference": c.test.difference._asdict(),
                "test": c.test.test,
                "p": c.test.p,
                "p_holm": c.p_holm,
                "effect": c.test.effect,
                "first_is": c.verdict,
            }
            for c in summary.comparisons
        ],
        "verdicts": verdicts(summary),
        "published": summary.published,
    }


def _costs(run: SystemRun) -> dict[str, float]:
    costs = {f"{part}_parameters": millions for part, millions in run.millions.items()}
    costs["memory"] = run.memory / 2**20
    return costs | {stage: 1000 * seconds for stage, seconds in typical_seconds(run.seconds).items()}
