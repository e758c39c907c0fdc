"""Reading what comes back: the key of a page and the files of its participants, both checked."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from diffrig_emo.workflows.user_study.page import VERSION
from diffrig_emo.workflows.user_study.questions import CHOICES, Kind

_QUESTION = {"kind", "face", "systems", "answer", "is_check"}


@dataclasses.dataclass(frozen=True)
class Choice:
    """One answer, with what the key tells about its question."""

    participant: str
    question: str
    kind: Kind
    face: str
    is_check: bool
    systems: tuple[str, ...]
    """Who made the pictures; empty for a check."""
    choice: str
    """The system chosen; for a check "a" or "b"; for emotions the one chosen."""
    answer: str | None
    """The right answer to a check, or the emotion that the picture shall show."""
    chose_left: bool | None
    """Whether the picture chosen was on the left; None for emotions."""
    ms: int
    """How long it took, in milliseconds."""


@dataclasses.dataclass(frozen=True)
class Participant:
    """Everything that one participant answered."""

    name: str
    file: str
    finished: datetime
    choices: tuple[Choice, ...]

    @property
    def num_checks(self) -> int:
        """Checks of attention that were answered."""
        return sum(c.is_check for c in self.choices)

    @property
    def num_failed(self) -> int:
        """Checks that were answered wrongly."""
        return sum(c.is_check and c.choice != c.answer for c in self.choices)

    @property
    def median_ms(self) -> float:
        """Median time of an answer in milliseconds; 0 without answers."""
        return statistics.median([c.ms for c in self.choices]) if self.choices else 0.0


def read_key(path: Path) -> dict[str, Any]:
    """Read the key of a page.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is no key of this version.
    """
    key = _read_json(path)
    if not {"page", "version", "systems", "questions"} <= set(key) or not isinstance(key["questions"], dict):
        raise ValueError(f"{path}: expected the key that was written beside the page, got other JSON")
    if key["version"] != VERSION:
        raise ValueError(f"{path}: expected a key of version {VERSION}, got {key['version']}")
    for name, question in key["questions"].items():
        if not isinstance(question, dict) or not set(question) >= _QUESTION:
            raise ValueError(f"{path}, question {name}: expected {', '.join(sorted(_QUESTION))}, got {question!r}")
    return key


def read_answers(folder: Path, key: Mapping[str, Any]) -> tuple[list[Participant], list[str]]:
    """Read the files of all participants.

    Args:
        folder: the folder with the JSON files, or one of them.
        key: of the page.

    Returns:
        Participants by name, each once: of several files of one participant, the one finished last counts. And what was
        left out for that, in words.

    Raises:
        FileNotFoundError: when there are no files.
        ValueError: when some are not answers to this page; all of them are named.
    """
    paths = [folder] if folder.is_file() else sorted(p for p in folder.glob("*.json") if not p.name.startswith("."))
    if not paths:
        raise FileNotFoundError(f"{folder}: expected the JSON files that participants sent, got none")
    read, wrong = [], []
    for path in paths:
        try:
            read.append(_participant(path, key))
        except ValueError as error:
            wrong.append(str(error))
    if wrong:
        listed = "\n  ".join(wrong)
        raise ValueError(f"answers: {len(wrong)} of {len(paths)} files cannot be used; put them elsewhere:\n  {listed}")
    latest: dict[str, Participant] = {}
    notes = []
    for participant in sorted(read, key=lambda p: p.finished):
        before = latest.get(participant.name)
        if before is not None:
            notes.append(f"{before.file}: left out, participant {before.name} finished {participant.file} later")
        latest[participant.name] = participant
    return [latest[name] for name in sorted(latest)], notes


def _participant(path: Path, key: Mapping[str, Any]) -> Participant:
    content = _read_json(path)
    if content.get("page") != key["page"]:
        raise ValueError(f"{path.name}: expected answers to page {key['page']}, got {content.get('page')!r}")
    if content.get("version") != VERSION:
        raise ValueError(f"{path.name}: expected version {VERSION}, got {content.get('version')!r}")
    name, finished, answers = (content.get(field) for field in ("participant", "finished", "answers"))
    if not isinstance(name, str) or not name:
        raise ValueError(f"{path.name}, participant: expected a code, got {name!r}")
    if not isinstance(answers, list):
        raise ValueError(f"{path.name}, answers: expected a list, got {answers!r}")
    try:
        when = datetime.fromisoformat(str(finished).replace("Z", "+00:00"))  # Python 3.10 knows no Z
        if when.tzinfo is None:
            raise ValueError("no time zone")
    except ValueError:
        raise ValueError(
            f"{path.name}, finished: expected a time such as 2025-01-31T12:00:00Z, got {finished!r}"
        ) from None
    choices = [_choice(answer, name, key, f"{path.name}, answer {i}") for i, answer in enumerate(answers)]
    asked = [choice.question for choice in choices]
    if len(set(asked)) < len(asked):
        twice = next(question for question in asked if asked.count(question) > 1)
        raise ValueError(f"{path.name}, answers: expected each question once, got {twice} {asked.count(twice)} times")
    return Participant(name, path.name, when, tuple(choices))


def _choice(answer: Any, participant: str, key: Mapping[str, Any], where: str) -> Choice:
    if not isinstance(answer, dict) or not {"question", "choice", "left", "ms"} <= set(answer):
        raise ValueError(f"{where}: expected question, choice, left and ms, got {answer!r}")
    question = key["questions"].get(str(answer["question"]))
    if question is None:
        raise ValueError(f"{where}, question: expected one of the page's, got {answer['question']!r}")
    is_pair = question["kind"] != "emotion"
    allowed: Sequence[str] = ("a", "b") if is_pair else CHOICES
    chosen, left, ms = answer["choice"], answer["left"], answer["ms"]
    if chosen not in allowed:
        raise ValueError(f"{where}, choice: expected one of {', '.join(allowed)}, got {chosen!r}")
    if left not in (("a", "b") if is_pair else (None,)):
        raise ValueError(f"{where}, left: expected {'a or b' if is_pair else 'null'}, got {left!r}")
    if isinstance(ms, bool) or not isinstance(ms, int) or ms < 0:
        raise ValueError(f"{where}, ms: expected a whole number of milliseconds, got {ms!r}")
    systems = tuple(question["systems"])
    return Choice(
        participant=participant,
        question=str(answer["question"]),
        kind=question["kind"],
        face=question["face"],
        is_check=question["is_check"],
        systems=systems,
        choice=systems["ab".index(chosen)] if is_pair and systems else chosen,
        answer=question["answer"],
        chose_left=chosen == left if is_pair else None,
        ms=ms,
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path.name}: expected JSON, got something else or a part of it ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name}: expected a JSON object, got {type(content).__name__}")
    return content
