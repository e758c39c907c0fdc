"""What a system's run leaves in the output folder, so that it need not run again."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.json_files import write_json
from diffrig_emo.io.provenance import Provenance, write_edited_image
from diffrig_emo.workflows.compare.metrics import METRICS, Result
from diffrig_emo.workflows.compare.stopwatch import STAGES

PICTURES = ("reconstruction", "edit")
"""What is painted of every face; names of the files end so."""


@dataclasses.dataclass(frozen=True)
class SystemRun:
    """Everything that was measured of one system."""

    settings: dict[str, Any]
    """What the figures depend on; a run with others is made anew."""
    unusable: dict[str, str]
    """Faces that it cannot use, and why."""
    faces: list[str]
    """Those that were measured, in their order."""
    figures: list[dict[str, float]]
    """Of each face."""
    seconds: list[dict[str, float]]
    """Of each face, by stage."""
    millions: dict[str, float]
    """Parameters of encoder and rig."""
    memory: int
    """Bytes that one edit adds."""


def picture_path(output: Path, system: str, face: str, what: str) -> Path:
    """Where a picture of a run lies."""
    return output / "systems" / system / f"{face}_{what}.png"


def write_pictures(output: Path, system: str, face: str, result: Result) -> None:
    """Keep what a system made of a face; the files say that they are AI-edited."""
    pictures: dict[str, Tensor] = {"reconstruction": result.reconstruction, "edit": result.edit}
    for what in PICTURES:
        provenance = Provenance({"system": system, "face": face, "picture": what})
        write_edited_image(picture_path(output, system, face, what), pictures[what][0], provenance)


def write_run(output: Path, system: str, run: SystemRun) -> None:
    """Keep a run; last of all, when its pictures lie there."""
    content = dataclasses.asdict(run)
    content["figures"] = [_without_nan(figures) for figures in run.figures]
    write_json(_run_path(output, system), content)


def read_run(output: Path, system: str, settings: Mapping[str, Any]) -> SystemRun | None:
    """A run that was kept; None where there is none, or it is damaged, of other settings or without its pictures."""
    try:
        run = SystemRun(**json.loads(_run_path(output, system).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if run.settings != json.loads(json.dumps(settings)):
        return None
    there = all(picture_path(output, system, face, what).is_file() for face in run.faces for what in PICTURES)
    return run if there else None


def write_figures(path: Path, runs: Mapping[str, SystemRun]) -> None:
    """Write the table of every face and system: figures by the names in `METRICS`, seconds of each stage."""
    names = [metric.name for metric in METRICS]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["face", "system", *names, *(f"seconds_{stage}" for stage in STAGES)])
        for system, run in runs.items():
            for face, figures, seconds in zip(run.faces, run.figures, run.seconds, strict=True):
                values = [*(figures.get(name) for name in names), *(seconds.get(stage) for stage in STAGES)]
                writer.writerow([face, system, *("" if v is None else f"{v:.6g}" for v in values)])


def write_skipped(path: Path, skipped: Mapping[str, str]) -> None:
    """Write why photographs could not be used; no file where all could."""
    if not skipped:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "reason"), *skipped.items()])


def figures_of(run: SystemRun, metric: str) -> list[float]:
    """One figure of every face; NaN where it was not measured."""
    return [figures.get(metric, math.nan) for figures in run.figures]


def _run_path(output: Path, system: str) -> Path:
    return output / "systems" / system / "run.json"


def _without_nan(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in figures.items() if math.isfinite(value)}
