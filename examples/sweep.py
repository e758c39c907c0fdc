"""Train one config with every combination of some settings, and write a table of the validation losses.

    python examples/sweep.py sweep_global_encoder.yaml --output sweep --set trainer.max_steps=500

Finished runs stay in the table; the same command goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import copy
import csv
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.workflows.experiment import load_experiment, shipped_config


def main(args: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", help="YAML file with config, grid and places; shipped ones by bare name")
    parser.add_argument("--output", type=Path, default=Path("sweep"), help="folder of the table and of the runs")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of all runs")
    options = parser.parse_args(args)
    sweep = yaml.safe_load(Path(shipped_config(options.sweep)).read_text(encoding="utf-8"))
    base = whole_config(sweep["config"])
    table = options.output / "sweep.csv"
    rows = read_table(table)
    names = list(sweep["grid"])
    for values in itertools.product(*sweep["grid"].values()):
        settings = {name: str(value) for name, value in zip(names, values, strict=True)}
        if any(all(row[name] == value for name, value in settings.items()) for row in rows):
            continue
        config = copy.deepcopy(base)
        for name, value in zip(names, values, strict=True):
            for place in sweep["places"][name]:
                put(config, place, value)
        run = options.output / "-".join(f"{name}={value}" for name, value in settings.items())
        rows.append({**settings, **train(config, run, options.set)})
        write_table(table, rows)
        print(rows[-1])


def train(config: dict[str, Any], run: Path, settings: Sequence[str]) -> dict[str, str]:
    """Train one combination; its validation losses, size and time."""
    with atomic_path(run / "config.yaml") as path:
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    overrides = [f"--trainer.default_root_dir={run}", *(f"--{setting}" for setting in settings)]
    experiment = load_experiment(run / "config.yaml", overrides)
    started = time.perf_counter()
    experiment.trainer.fit(experiment.model, experiment.data)
    seconds = time.perf_counter() - started
    metrics = experiment.trainer.validate(experiment.model, experiment.data, verbose=False)[0]
    trained = sum(p.numel() for p in experiment.model.parameters() if p.requires_grad)
    found = {name.removeprefix("val/"): f"{value:.6f}" for name, value in sorted(metrics.items())}
    return {**found, "trained_parameters": str(trained), "seconds": f"{seconds:.1f}"}


def whole_config(name: str) -> dict[str, Any]:
    """A config with the pieces that it names in their places."""
    path = Path(shipped_config(name))
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for part in ("model", "data"):
        if isinstance(config[part], str):
            config[part] = yaml.safe_load((path.parent / config[part]).read_text(encoding="utf-8"))
    return config


def put(config: dict[str, Any], place: str, value: Any) -> None:
    """Set `a.b.0.c`; all but the last must be there."""
    *way, last = [int(word) if word.isdigit() else word for word in place.split(".")]
    target: Any = config
    for word in way:
        target = target[word]
    target[last] = value


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows that are already there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write all rows anew, so that the table is always whole."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
