"""The page of a study: its data, and the HTML file around them."""

from __future__ import annotations

import hashlib
import html
import json
import random
import string
from collections.abc import Sequence
from importlib import resources
from typing import Any

from diffrig_emo.workflows.user_study.pictures import StudyPictures
from diffrig_emo.workflows.user_study.questions import CHOICES, Question, Shown

VERSION = 1
"""Of the files of pages, keys and answers; another one is refused."""


def page_data(
    questions: Sequence[Question], pictures: StudyPictures, rng: random.Random, **texts: str | int | None
) -> dict[str, Any]:
    """What the page's script works on; it tells neither systems nor faces nor right answers.

    Args:
        questions: in the order in which they are stored.
        pictures: encodes theirs.
        rng: names the pictures.
        texts: what else the page shows or needs.

    Returns:
        JSON, with the id of the page, which any change of pictures, questions or texts changes.
    """
    names: dict[Shown, str] = {}
    encoded: dict[str, str] = {}

    def name(shown: Shown) -> str:
        if shown not in names:
            names[shown] = f"{rng.getrandbits(48):012x}"
            encoded[names[shown]] = pictures.noisy_uri(shown.path) if shown.is_noisy else pictures.uri(shown.path)
        return names[shown]

    asked = [
        {
            "id": question.id,
            "kind": question.kind,
            "pictures": [name(shown) for shown in question.pictures],
            "source": None if question.source is None else name(question.source),
            "request": question.answer if question.is_check and question.kind == "emotion" else None,
            "always": question.is_check,
        }
        for question in questions
    ]
    content = {
        "version": VERSION,
        **texts,
        "choices": list(CHOICES),
        "questions": asked,
        "pictures": dict(sorted(encoded.items())),
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return {"page": digest[:12], **content}


def page_html(data: dict[str, Any]) -> str:
    """One HTML file that fetches nothing: style, script, questions and pictures are in it.

    Args:
        data: what `page_data` gives; its `title` is the page's.
    """
    folder = resources.files("diffrig_emo") / "workflows" / "user_study"
    template, style, script = (
        (folder / f"page.{suffix}").read_text(encoding="utf-8") for suffix in ("html", "css", "js")
    )
    return string.Template(template).substitute(
        title=html.escape(str(data["title"])),
        style=style,
        script=script,
        data=json.dumps(data).replace("<", "\\u003c"),  # "</script>" in a text would end the element
    )


def key_data(data: dict[str, Any], questions: Sequence[Question], **notes: Any) -> dict[str, Any]:
    """What the page does not tell, to analyse answers by."""
    return {
        "version": VERSION,
        "page": data["page"],
        **notes,
        "questions": {
            question.id: {
                "kind": question.kind,
                "face": question.face,
                "systems": list(question.systems),
                "answer": question.answer,
                "is_check": question.is_check,
            }
            for question in questions
        },
    }
