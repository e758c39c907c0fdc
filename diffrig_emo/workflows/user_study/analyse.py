"""`diffrig-emo user-study-analyse`: what participants sent becomes win rates, strengths and confusions."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.json_files import write_json
from diffrig_emo.workflows.user_study.answers import Choice, Participant, read_answers, read_key
from diffrig_emo.workflows.user_study.questions import KINDS
from diffrig_emo.workflows.user_study.results import check_results, emotion_results, pair_results

_LOG_WIDTH = 160
"""Columns in a log file or a pipe, where rich would squeeze the tables into 80."""
_ASKED = {"realism": "looks more like a photograph", "identity": "shows the person of the source"}
_COLUMNS = ("participant", "question", "kind", "face", "is_check", "systems", "choice", "answer", "chose_left", "ms")


def user_study_analyse(
    answers: Path,
    key: Path,
    output: Path = Path("study_results.json"),
    confidence: float = 0.95,
    max_failed_checks: int | None = None,
) -> None:
    """Analyse the answers to a page of `user-study-build`.

    Prints tables, and writes them as JSON and, beside it, every single answer as CSV (`study_results.csv`), for models
    that know of participants and faces. Intervals count all answers as independent of each other.

    Args:
        answers: folder of the JSON files that participants sent, or one of them.
        key: what was written beside the page.
        output: the results.
        confidence: of the intervals: Wilson's for shares, by Fisher's information for Bradley and Terry's strengths.
        max_failed_checks: leave out participants who failed more checks of attention; None leaves out none.

    Raises:
        FileNotFoundError: when there are no answers.
        ValueError: when files are damaged or answer another page, or nobody is left.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a probability between 0 and 1, got {confidence}")
    if max_failed_checks is not None and max_failed_checks < 0:
        raise ValueError(f"max_failed_checks: expected 0 or more, got {max_failed_checks}")
    if output.suffix.lower() != ".json":
        raise ValueError(f"output: expected the name of a JSON file, got {output}")
    if output.resolve() == key.resolve() or (answers.is_dir() and output.resolve().parent == answers.resolve()):
        raise ValueError(f"output: {output} would lie among the answers or replace the key; choose another place")
    content = read_key(key)
    everyone, notes = read_answers(answers, content)
    limit = float("inf") if max_failed_checks is None else max_failed_checks
    kept = [participant for participant in everyone if participant.num_failed <= limit]
    if not kept:
        raise ValueError(f"max_failed_checks: all {len(everyone)} participants failed more than {max_failed_checks}")
    choices = [choice for participant in kept for choice in participant.choices]
    results = {
        "page": content["page"],
        "confidence": confidence,
        "systems": content["systems"],
        "participants": [_describe(participant, participant in kept) for participant in everyone],
        "left_out": notes,
        "checks": check_results(choices),
        **_by_kind(choices, confidence),
    }
    write_json(output, results)
    _write_csv(output.with_suffix(".csv"), choices)

    console = Console(width=None if Console().is_terminal else _LOG_WIDTH, highlight=False)
    for note in notes:
        console.print(note, markup=False)
    for table in _tables(results):
        console.print(table)
    console.print(f"{output}, and every answer in {output.with_suffix('.csv')}", markup=False)


def _by_kind(choices: Sequence[Choice], confidence: float) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for kind in KINDS:
        own = [choice for choice in choices if choice.kind == kind and not choice.is_check]
        if own:
            results[kind] = (emotion_results if kind == "emotion" else pair_results)(own, confidence)
    return results


def _describe(participant: Participant, is_kept: bool) -> dict[str, Any]:
    return {
        "participant": participant.name,
        "file": participant.file,
        "finished": participant.finished.isoformat(),
        "answers": len(participant.choices),
        "checks": participant.num_checks,
        "checks_passed": participant.num_checks - participant.num_failed,
        "median_ms": participant.median_ms,
        "is_kept": is_kept,
    }


def _write_csv(output: Path, choices: Sequence[Choice]) -> None:
    with atomic_path(output) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for choice in choices:
            cells = {name: getattr(choice, name) for name in _COLUMNS} | {"systems": " ".join(choice.systems)}
            writer.writerow("" if value is None else value for value in cells.values())


def _tables(results: dict[str, Any]) -> list[Table]:
    tables = [_participants(results["participants"])]
    interval = f"{100 * results['confidence']:.4g} % interval"
    for kind, asked in _ASKED.items():
        if kind in results:
            tables += [_pairs(f"{kind}: {asked}", results[kind], interval), _strengths(kind, results[kind], interval)]
    if "emotion" in results:
        tables.append(_accuracies(results["emotion"], interval))
        tables += [_confusion(system, found["confusion"]) for system, found in results["emotion"].items()]
    return tables


def _participants(participants: Sequence[dict[str, Any]]) -> Table:
    table = _table("Participants", "participant", "answers", "checks passed", "median time", "")
    for one in participants:
        table.add_row(
            Text(one["participant"]),  # as they typed it: no markup
            str(one["answers"]),
            f"{one['checks_passed']} of {one['checks']}",
            f"{one['median_ms'] / 1000:.1f} s",
            "" if one["is_kept"] else "left out",
        )
    return table


def _pairs(title: str, results: dict[str, Any], interval: str) -> Table:
    table = _table(title, "system", "preferred to", "rate", interval, "answers")
    for pair in results["pairs"]:
        table.add_row(Text(pair["system"]), Text(pair["over"]), *_cells(pair))
    if len(results["systems"]) > 2:
        table.add_section()
        for system, share in results["systems"].items():
            table.add_row(Text(system), "all others", *_cells(share))
    table.add_section()
    table.add_row("left picture", "right picture", *_cells(results["left"]))
    return table


def _strengths(kind: str, results: dict[str, Any], interval: str) -> Table:
    found = results["bradley_terry"]
    table = _table(f"{kind}: strengths after Bradley and Terry, in logits", "system", "strength", interval)
    if "none" in found:
        table.add_row(Text(found["none"]), "", "")
        return table
    for system, one in sorted(found.items(), key=lambda item: -item[1]["strength"]):
        table.add_row(Text(system), f"{one['strength']:+.2f}", f"{one['low']:+.2f} to {one['high']:+.2f}")
    return table


def _accuracies(results: dict[str, Any], interval: str) -> Table:
    title = "emotion: recognised as intended (by chance: 1 of 9)"
    table = _table(title, "system", "emotion", "rate", interval, "answers")
    for system, found in results.items():
        table.add_row(Text(system), "all", *_cells(found["accuracy"]))
        for emotion, share in found["emotions"].items():
            table.add_row("", emotion, *_cells(share))
        table.add_section()
    return table


def _confusion(system: str, confusion: dict[str, Any]) -> Table:
    table = _table(f"emotion: answers about {system}", "intended", *confusion["columns"])
    for emotion, row in zip(confusion["rows"], confusion["answers"], strict=True):
        if any(row):
            table.add_row(emotion, *(str(count or "") for count in row))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        is_text = number == 0 or column in ("preferred to", "emotion", "")
        table.add_column(column, justify="left" if is_text else "right")
    return table


def _cells(share: dict[str, float]) -> tuple[str, str, str]:
    return f"{share['rate']:.1%}", f"{share['low']:.1%} to {share['high']:.1%}", str(share["trials"])
