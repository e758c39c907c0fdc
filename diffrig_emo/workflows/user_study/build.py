"""`diffrig-emo user-study-build`: pictures of several systems become a page of questions."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.workflows.user_study.faces import StudyFaces, match_faces
from diffrig_emo.workflows.user_study.page import key_data, page_data, page_html
from diffrig_emo.workflows.user_study.pictures import StudyPictures
from diffrig_emo.workflows.user_study.questions import KINDS, SOURCE, Kind, Question, draw_questions, missing_for

_SECONDS = 5
"""What a question takes, about."""
_LARGE = 2**26
"""Bytes of a page that phones may not load."""


def user_study_build(
    systems: dict[str, Path],
    sources: Path | None = None,
    output: Path = Path("study.html"),
    kinds: list[Kind] | None = None,
    pattern: str = "*",
    emotions: Path | None = None,
    sources_compete: bool = False,
    per_participant: int | None = None,
    checks: int = 2,
    image_size: int = 256,
    lossless: bool = False,
    title: str = "A study about pictures of faces",
    introduction: str = "",
    closing: str = "Please save your answers and send the file to the person who asked you to take part.",
    seed: int = 0,
) -> None:
    """Build a user study: one HTML page to hand out, and the key to analyse its answers by, to keep.

    The page needs no network and names neither systems nor files. Every participant sees the questions in an order,
    and the pictures on sides, of their own. A face is matched across systems by its file name (see `match_faces`);
    faces that lack in one system are left out.

    Args:
        systems: folder of each system's pictures, as '{deca: runA/, emoca: runB/}'.
        sources: folder of the photographs that they were made from.
        output: the page; the key goes beside it, as `study_key.json` beside `study.html`.
        kinds: realism (which of two looks more like a photograph), identity (which of two shows the person of the
            source), emotion (which emotion a face shows). None asks all that the pictures allow.
        pattern: which pictures of the systems' folders to take, such as '*_exp.png'.
        emotions: CSV table with the columns name and emotion. None reads the emotion off names: anna_happy.png.
        sources_compete: ask for the realism of the sources too, as if they were a system called source.
        per_participant: questions of each kind that one participant is asked, drawn anew for each; None asks all.
        checks: questions of each kind that have a plain answer, to see who pays attention; they come on top.
        image_size: longest side of the pictures in pixels.
        lossless: PNG, four times larger, instead of JPEG of quality 95.
        title: heading of the page.
        introduction: what participants read first, such as what they consent to.
        closing: what they read at the end.
        seed: decides on ids and on the order in the file.

    Raises:
        FileNotFoundError: when a folder is missing or has no pictures.
        ValueError: when no face can be asked about, a kind is asked for without what it needs, a setting is out of
            range, or the key of another page would be overwritten.
    """
    _require(systems, sources, output, kinds, sources_compete, per_participant, checks, image_size)
    console = Console(highlight=False, soft_wrap=True)
    pictures = StudyPictures(image_size, lossless, seed)
    faces = readable(match_faces(systems, sources, emotions, pattern), pictures)
    if not faces.pictures:
        raise ValueError(f"systems: expected faces that every system has, got none: {_reasons(faces)}")
    missing = missing_for(faces, sources_compete)
    for kind in kinds or ():
        if kind in missing:
            raise ValueError(f"kinds: {kind} needs {missing[kind]}; got none")
    asked = list(kinds) if kinds else [kind for kind in KINDS if kind not in missing]
    if not asked:
        raise ValueError("kinds: nothing can be asked; " + "; ".join(f"{k} needs {v}" for k, v in missing.items()))
    rng = random.Random(seed)
    questions = draw_questions(faces, asked, checks, sources_compete, rng)
    data = page_data(
        questions,
        pictures,
        rng,
        title=title,
        introduction=introduction,
        closing=closing,
        per_participant=per_participant,
    )
    competitors = {name: str(folder) for name, folder in systems.items()}
    key = key_data(data, questions, systems=competitors, left_out=faces.left_out)
    key_path = output.with_name(f"{output.stem}_key.json")
    _require_no_other_key(key_path, data["page"])
    _write(key_path, json.dumps(key, indent=1) + "\n")  # first: a page without its key is worth nothing
    page = page_html(data)
    _write(output, page)

    for kind, lack in missing.items():
        if not kinds:
            console.print(f"{kind}: not asked, for want of {lack}", markup=False)
    _tell_left_out(console, faces, asked)
    _tell_questions(console, questions, per_participant, len(faces.pictures))
    console.print(f"{output}: the page to hand out ({len(page) / 1e6:.1f} MB)", markup=False)
    if len(page) > _LARGE:
        console.print("It is large for a phone: choose fewer faces by --pattern, or a smaller --image_size.")
    console.print(f"{key_path}: the key, to keep", markup=False)


def readable(faces: StudyFaces, pictures: StudyPictures) -> StudyFaces:
    """The faces all of whose pictures can be read, encoded already; the others are left out with the reason."""
    reasons: dict[str, str] = {}
    for face, own in faces.pictures.items():
        source = [faces.sources[face]] if face in faces.sources else []
        try:
            for path in (*own.values(), *source):
                pictures.uri(path)
        except (OSError, ValueError) as error:
            reasons[face] = str(error)
    return faces.without(reasons)


def _require(
    systems: Mapping[str, Path],
    sources: Path | None,
    output: Path,
    kinds: list[Kind] | None,
    sources_compete: bool,
    per_participant: int | None,
    checks: int,
    image_size: int,
) -> None:
    if not systems:
        raise ValueError("systems: expected at least one folder, as '{deca: runA/, emoca: runB/}', got none")
    if sources_compete and sources is None:
        raise ValueError("sources_compete: expected a folder of sources to compete, got none; give --sources")
    if sources_compete and SOURCE in systems:
        raise ValueError(f"systems: {SOURCE!r} is what the sources are called; give the system another name")
    if kinds is not None and (not kinds or len(set(kinds)) < len(kinds) or not set(kinds) <= set(KINDS)):
        raise ValueError(f"kinds: expected one or more different ones of {', '.join(KINDS)}, got {kinds}")
    if output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"output: expected the name of an HTML page such as study.html, got {output}")
    least = {"per_participant": (per_participant, 1), "checks": (checks, 0), "image_size": (image_size, 16)}
    for name, (value, minimum) in least.items():
        if value is not None and value < minimum:
            raise ValueError(f"{name}: expected {minimum} or more, got {value}")


def _require_no_other_key(path: Path, page: str) -> None:
    """Without its key, a page that was handed out is lost."""
    if not path.exists():
        return
    try:
        other = json.loads(path.read_text(encoding="utf-8"))["page"]
    except (ValueError, KeyError, TypeError):
        other = "something else"
    if other != page:
        raise ValueError(
            f"output: {path} is there already, the key of page {other}, and this would be page {page}; choose another "
            "output, or remove the key if nobody has seen that page"
        )


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _reasons(faces: StudyFaces) -> str:
    return "; ".join(f"{face}: {reason}" for face, reason in list(faces.left_out.items())[:3])


def _tell_left_out(console: Console, faces: StudyFaces, asked: list[Kind]) -> None:
    for face, reason in faces.left_out.items():
        console.print(f"left out {face}: {reason}", markup=False)
    lacking: dict[Kind, Mapping[str, object]] = {"identity": faces.sources, "emotion": faces.emotions}
    for kind, known in lacking.items():
        without = [face for face in faces.pictures if face not in known]
        if kind in asked and without:
            what = "source" if kind == "identity" else "known emotion"
            console.print(
                f"{kind}: not asked of {len(without)} faces without {what}, such as {without[0]}", markup=False
            )


def _tell_questions(console: Console, questions: list[Question], per_participant: int | None, num_faces: int) -> None:
    total = 0
    for kind in KINDS:
        own = [question for question in questions if question.kind == kind]
        num_checks = sum(question.is_check for question in own)
        if not own:
            continue
        count = len(own) - num_checks
        asked = count if per_participant is None else min(count, per_participant)
        total += asked + num_checks
        share = "" if asked == count else f", {asked} of them for each participant"
        console.print(f"{kind}: {count} questions{share}, and {num_checks} checks")
    minutes = max(1, round(total * _SECONDS / 60))
    console.print(f"{num_faces} faces, {total} questions for each participant, about {minutes} minutes")
