"""`diffrig-emo sweep`: what each setting of an edit costs and brings, on faces whose true edits are known."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn

from diffrig_emo.diffusion import Sampler
from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.images import write_image
from diffrig_emo.io.json_files import write_json
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.utils.devices import choose_device
from diffrig_emo.workflows.load import load_encoder, load_rig
from diffrig_emo.workflows.plot import Curve, Panel, draw_panels
from diffrig_emo.workflows.shipped import shipped_encoder, shipped_rig
from diffrig_emo.workflows.sweep_faces import Point, SweepFaces, SweptEdit, rig_bridge

SETTINGS = tuple(field.name for field in dataclasses.fields(Point))
FIGURES = ("psnr", "psnr_changed", "psnr_unchanged", "expression_error", "beta_drift", "seconds")

_HEADS = {
    "psnr": "PSNR",
    "psnr_changed": "changed",
    "psnr_unchanged": "unchanged",
    "expression_error": "exp err",
    "beta_drift": "drift",
    "seconds": "s/face",
}

Row = dict[str, Any]
"""Settings and figures of one point; of a reference, its `name` and figures."""


def sweep(
    rig: Path | None = None,
    encoder: Path | None = None,
    output: Path = Path("sweep"),
    edit: SweptEdit = "expression",
    steps: list[int] = [5, 10, 20],  # noqa: B006
    sampler: list[Sampler] = ["ddim", "dpm"],  # noqa: B006
    strength: list[float] = [1.0, 0.5],  # noqa: B006
    eta: list[float] = [0.0],  # noqa: B006
    guidance_scale: list[float] = [1.0],  # noqa: B006
    start: list[Literal["inverted", "noise"]] = ["inverted"],  # noqa: B006
    residual: list[bool] = [False],  # noqa: B006
    blend: list[bool] = [False],  # noqa: B006
    faces: int = 32,
    seed: int = 3,
    batch_size: int = 8,
    fresh: bool = False,
) -> None:
    """Edit held-out synthetic faces under every combination of settings, and tell the trade-offs.

    Writes `sweep.json` after every point, and in the end `sweep.csv` and `sweep.png`. A point that `sweep.json` holds
    is not run again, so that a sweep that was stopped goes on, and a finer grid adds to a coarse one. Combinations that
    no edit can have (eta with dpm, residual from noise) are left out.

    Args:
        rig: a run of ours that knows synthetic faces (`demo_output/rig`). None is the shipped one.
        encoder: a run of ours that reads codes off the edits (`demo_output/encoder`). None is the shipped one.
        output: folder for the results.
        edit: what each face takes from the next one: expression, pose or light.
        steps: steps up and steps down, at least 2.
        sampler: ddim, dpm (DPM-Solver++).
        strength: where an edit starts, as a share of the schedule, above 0 to 1.
        eta: how random DDIM is, 0 to 1.
        guidance_scale: classifier-free guidance, for rigs that were trained with dropped conditions.
        start: inverted, noise.
        residual: add the change to the source, instead of taking what is painted.
        blend: keep the source where the edit changes no condition.
        faces: how many people are edited.
        seed: of the people; it must be another than those that the rig has learned from.
        batch_size: faces edited at once; it changes times alone.
        fresh: forget what `sweep.json` holds.

    Raises:
        FileNotFoundError: when a run is missing.
        ValueError: when a setting is out of range, the rig cannot be judged on synthetic faces, or `sweep.json` tells
            of others.
    """
    console = Console(highlight=False, soft_wrap=True)
    points = _grid(sampler, start, strength, eta, guidance_scale, residual, blend, steps)
    wanted, misfits = [p for p in points if p.misfit is None], [p for p in points if p.misfit is not None]
    if not wanted:
        raise ValueError(f"no combination of the settings can be run: {misfits[0].misfit}")
    if batch_size < 1:
        raise ValueError(f"batch_size: expected at least 1, got {batch_size}")
    device = choose_device()
    model = (shipped_rig() if rig is None else load_rig(rig)).to(device)
    reader = (shipped_encoder() if encoder is None else load_encoder(encoder)).to(device)
    size = rig_bridge(model).renderer.size[0]
    about = {
        "rig": digest(model),
        "encoder": digest(reader),
        "edit": edit,
        "faces": faces,
        "seed": seed,
        "batch_size": batch_size,
        "device": str(device),
    }
    stored = {} if fresh else read_sweep(output / "sweep.json", about)
    rows: list[Row] = stored.get("points", [])
    done = {key(row) for row in rows}
    todo = [point for point in wanted if key(dataclasses.asdict(point)) not in done]
    if misfits:
        console.print(f"{len(misfits)} combinations left out: {misfits[0].misfit}")
    if len(todo) < len(wanted):
        console.print(f"{len(wanted) - len(todo)} of {len(wanted)} points done before: {output / 'sweep.json'}")
    if todo:
        task = SweepFaces(SyntheticFaces(faces, size, seed), model, edit, reader, batch_size)
        stored = {"about": about, "references": stored.get("references") or task.references(), "points": rows}
        task.warm_up()
        for point in track(todo, "Editing", console=console):
            rows.append({**dataclasses.asdict(point), **task.measure(point)})
            write_json(output / "sweep.json", stored)
    references = [{"name": name, **figures} for name, figures in stored["references"].items()]
    rows.sort(key=lambda row: tuple(row[name] for name in SETTINGS))
    _write_csv(output / "sweep.csv", references, rows)
    write_image(output / "sweep.png", draw_panels(panels(references, rows)))
    wide = Console(highlight=False, width=max(console.width, 80))  # a figure cut short is none
    wide.print(_table(references, rows, f"{edit} edits of {faces} held-out faces"))
    console.print(f"{len(rows)} points: {output / 'sweep.csv'}, {output / 'sweep.json'}, {output / 'sweep.png'}")


def digest(module: nn.Module) -> str:
    """A few characters that tell a module's weights from others."""
    sha = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        sha.update(name.encode())
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.hexdigest()[:16]


def read_sweep(path: Path, about: dict[str, Any]) -> dict[str, Any]:
    """What an earlier sweep left.

    Args:
        path: `sweep.json`; may be absent.
        about: what this sweep is of.

    Raises:
        ValueError: when the file is damaged, or of another rig, other faces or another machine.
    """
    if not path.is_file():
        return {}
    remedy = "give another --output, or --fresh to forget it"
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        before = stored["about"]
        known = [key(row) for row in stored["points"]]
        complete = len(known) == len(set(known)) and isinstance(stored["references"], dict)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected the results of a sweep, got something else ({error}); {remedy}") from error
    if not complete:
        raise ValueError(f"{path}: expected each point once, with references; {remedy}")
    other = [name for name in about if before.get(name) != about[name]]
    if other:
        told = ", ".join(f"{name} {before.get(name)!r} instead of {about[name]!r}" for name in other)
        raise ValueError(f"{path}: its points cannot be compared with new ones: {told}; {remedy}")
    return stored


def key(settings: Row) -> tuple[Any, ...]:
    """What makes a point the same."""
    return tuple(settings[name] for name in SETTINGS)


def panels(references: Sequence[Row], rows: Sequence[Row]) -> list[Panel]:
    """Quality against time, and fidelity against effect: a curve over the steps for every other setting.

    Args:
        references: rows `source` and `render_delta`, others are not drawn.
        rows: points.
    """
    shown = {row["name"].replace("_", " "): row for row in references if row["name"] in ("source", "render_delta")}
    curves: dict[str, list[Row]] = {}
    varied = [name for name in SETTINGS[:-1] if len({row[name] for row in rows}) > 1]
    for row in sorted(rows, key=lambda row: row["steps"]):
        curves.setdefault(_name(row, varied), []).append(row)

    def drawn(x: str, y: str) -> list[Curve]:
        return [
            Curve(name, [r[x] for r in some], [r[y] for r in some], [str(r["steps"]) for r in some])
            for name, some in sorted(curves.items())
        ]

    changed, unchanged = "PSNR of changed pixels, dB", "PSNR of unchanged pixels, dB"
    return [
        Panel(
            "Quality against time (numbers: steps)",
            "seconds per face",
            changed,
            drawn("seconds", "psnr_changed"),
            levels={name: row["psnr_changed"] for name, row in shown.items()},
            log_x=True,
        ),
        Panel(
            "Fidelity against effect",
            changed,
            unchanged,
            drawn("psnr_changed", "psnr_unchanged"),
            marks={name: (row["psnr_changed"], row["psnr_unchanged"]) for name, row in shown.items()},
        ),
    ]


def _grid(*axes: Sequence[Any]) -> list[Point]:
    """All combinations, each axis without repeats; bad values are named before any work."""
    for name, values in zip(SETTINGS, axes, strict=True):
        if not values or len(set(values)) < len(values):
            raise ValueError(f"{name}: expected one or more different values, got {list(values)}")
    points = [Point(*values) for values in itertools.product(*axes)]
    for point in points:
        point.check()
    return points


def _name(row: Row, varied: Sequence[str], separator: str = " · ") -> str:
    words = []
    for name in varied or ("sampler",):
        value = row[name]
        if isinstance(value, bool):
            words += [name] if value else []
        else:
            words.append(value if isinstance(value, str) else f"{name.replace('_', ' ')} {value:g}")
    return separator.join(words) or f"no {varied[0]}"


def _write_csv(path: Path, references: Sequence[Row], rows: Sequence[Row]) -> None:
    names = ["name", *SETTINGS, *FIGURES]
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows([*references, *rows])


def _table(references: Sequence[Row], rows: Sequence[Row], title: str) -> Table:
    """References, then points by the settings that vary, in 80 columns."""
    varied = [name for name in SETTINGS if len({row[name] for row in rows}) > 1]
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("")
    for name in FIGURES:
        table.add_column(_HEADS[name], justify="right", no_wrap=True)
    for row in [*references, *rows]:
        label = row["name"].replace("_", " ") if "name" in row else _name(row, varied, " ")
        table.add_row(label, *(_shown(row.get(figure)) for figure in FIGURES))
    return table


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
