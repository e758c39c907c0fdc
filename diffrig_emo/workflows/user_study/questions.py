"""The questions of a study, and the checks of attention among them."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from diffrig_emo.metrics.functional import EMOTIONS
from diffrig_emo.workflows.user_study.faces import StudyFaces

Kind = Literal["realism", "identity", "emotion"]
"""What is asked: which of two pictures looks more real, which shows the person of the source, which emotion is seen."""

KINDS: tuple[Kind, ...] = ("realism", "identity", "emotion")

SOURCE = "source"
"""What the source photograph is called where it competes with the systems."""
NONE = "none"
"""The choice that no emotion fits."""
CHOICES = (*EMOTIONS, NONE)
"""What can be answered to a question about an emotion."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """A picture as it is shown."""

    path: Path
    is_noisy: bool = False


@dataclasses.dataclass(frozen=True)
class Question:
    """One question."""

    id: str
    """Tells nothing about what is asked."""
    kind: Kind
    face: str
    """Name of the face, for the key alone."""
    systems: tuple[str, ...]
    """Who made the pictures, in their order; empty for a check."""
    pictures: tuple[Shown, ...]
    """Two to compare, or one whose emotion is asked for."""
    source: Shown | None
    """The photograph of the person, for identity."""
    answer: str | None
    """The emotion that the picture shall show, or the right answer to a check; "a" is the first picture."""
    is_check: bool = False
    """A question whose answer is plain, to see who pays attention."""


def missing_for(faces: StudyFaces, with_sources: bool) -> dict[Kind, str]:
    """What is missing for the kinds of questions that cannot be asked of any face."""
    n_systems = len(next(iter(faces.pictures.values())))
    has_sources = any(face in faces.sources for face in faces.pictures)
    missing: dict[Kind, str] = {}
    if n_systems < 2 and not (with_sources and has_sources):
        missing["realism"] = "two systems, or one whose source photographs compete"
    if n_systems < 2 or not has_sources:
        missing["identity"] = "two systems and source photographs of their faces"
    if not any(face in faces.emotions for face in faces.pictures):
        missing["emotion"] = "faces whose emotion is known, by a word of their name or by a table"
    return missing


def draw_questions(
    faces: StudyFaces, kinds: Sequence[Kind], num_checks: int, with_sources: bool, rng: random.Random
) -> list[Question]:
    """All questions of a study, in an order that tells nothing.

    Args:
        faces: the faces to ask about.
        kinds: what to ask.
        num_checks: checks of attention for each kind.
        with_sources: realism of the sources is asked as well, as if they were a system called `SOURCE`.
        rng: decides on ids and orders.
    """
    questions: list[Question] = []
    for kind in kinds:
        for face, pictures in faces.pictures.items():
            source = faces.sources.get(face)
            if kind == "emotion":
                questions += _about_emotion(face, pictures, faces.emotions.get(face), rng)
            elif kind == "realism":
                rivals = {**pictures, SOURCE: source} if with_sources and source is not None else pictures
                questions += _pairs(kind, face, rivals, None, rng)
            elif source is not None:
                questions += _pairs(kind, face, pictures, Shown(source), rng)
        names = rng.sample(sorted(faces.pictures), len(faces.pictures)) * num_checks
        questions += [_check(kind, name, faces, rng) for name in names[:num_checks]]
    rng.shuffle(questions)
    return questions


def _pairs(
    kind: Kind, face: str, pictures: Mapping[str, Path], source: Shown | None, rng: random.Random
) -> list[Question]:
    questions = []
    for pair in itertools.combinations(pictures, 2):
        order = rng.sample(pair, 2)
        shown = tuple(Shown(pictures[system]) for system in order)
        questions.append(Question(_id(rng), kind, face, tuple(order), shown, source, None))
    return questions


def _about_emotion(face: str, pictures: Mapping[str, Path], emotion: str | None, rng: random.Random) -> list[Question]:
    if emotion is None:
        return []
    return [
        Question(_id(rng), "emotion", face, (system,), (Shown(path),), None, emotion)
        for system, path in pictures.items()
    ]


def _check(kind: Kind, face: str, faces: StudyFaces, rng: random.Random) -> Question:
    """A photograph against itself under heavy noise, or the request to choose a certain emotion."""
    pictures = faces.pictures[face]
    photo = faces.sources.get(face) or pictures[rng.choice(sorted(pictures))]
    if kind == "emotion":
        return Question(_id(rng), kind, face, (), (Shown(photo),), None, rng.choice(EMOTIONS), is_check=True)
    right = rng.choice("ab")
    shown = (Shown(photo, is_noisy=right != "a"), Shown(photo, is_noisy=right != "b"))
    source = Shown(photo) if kind == "identity" else None
    return Question(_id(rng), kind, face, (), shown, source, right, is_check=True)


def _id(rng: random.Random) -> str:
    return f"{rng.getrandbits(48):012x}"
