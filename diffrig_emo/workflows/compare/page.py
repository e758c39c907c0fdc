"""The report as one HTML file: tables, and a gallery to sort."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import string
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from diffrig_emo import __version__
from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.images import read_image
from diffrig_emo.workflows.compare.faces import Reference
from diffrig_emo.workflows.compare.store import PICTURES, SystemRun, picture_path
from diffrig_emo.workflows.compare.summary import LEVEL, Summary, verdicts
from diffrig_emo.workflows.compare.tables import (
    TextTable,
    cost_table,
    heading,
    pairs_of,
    published_rows,
    quality_table,
    test_table,
)

_GOAL = "gives the expression"
_LONGEST = 192
"""Pixels of the gallery's pictures; larger ones are in the folders."""


def write_page(
    output: Path,
    summary: Summary,
    runs: Mapping[str, SystemRun],
    references: Sequence[Reference],
    described: Mapping[str, Mapping[str, object]],
    notes: Sequence[str],
    not_measured: Mapping[str, str],
    notice: str,
) -> None:
    """Write `report.html`, which fetches nothing: pictures, style and script are in it.

    Args:
        output: folder of the comparison, with the systems' pictures.
        summary: its tables.
        runs: every face's figures.
        references: photographs and true edits, in the order of the faces.
        described: what the user described each system by.
        notes: sentences about how it was done.
        not_measured: figures, and why nobody has measured them.
        notice: what the pictures are.
    """
    folder = resources.files("diffrig_emo") / "workflows" / "compare"
    template, style, script = (
        (folder / f"page.{suffix}").read_text(encoding="utf-8") for suffix in ("html", "css", "js")
    )
    data = page_data(output, summary, runs, references)
    text = string.Template(template).substitute(
        title=html.escape(f"Comparison of {', '.join(runs)}"),
        notice=html.escape(notice),
        style=style,
        script=script,
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),  # "</script>" in a name would end the element
        version=html.escape(__version__),
        body=_body(summary, described, notes, not_measured),
    )
    with atomic_path(output / "report.html") as path:
        path.write_text(text, encoding="utf-8")


def page_data(
    output: Path, summary: Summary, runs: Mapping[str, SystemRun], references: Sequence[Reference]
) -> dict[str, Any]:
    """What the gallery's script works on."""
    faces = []
    first = next(iter(runs.values()))
    for number, (name, reference) in enumerate(zip(first.faces, references, strict=True)):
        sources: dict[str, str] = {"source": picture_uri(reference.photo[0]), _GOAL: picture_uri(reference.goal[0])}
        if reference.true_edit is not None:
            sources["true edit"] = picture_uri(reference.true_edit[0])
        faces.append(
            {
                "name": name,
                "goal": first.faces[(number + 1) % len(first.faces)],
                "sources": sources,
                "systems": {
                    system: {
                        what: picture_uri(read_image(picture_path(output, system, name, what))) for what in PICTURES
                    }
                    for system in runs
                },
                "figures": {
                    system: {key: value for key, value in run.figures[number].items() if math.isfinite(value)}
                    for system, run in runs.items()
                },
            }
        )
    metrics = [
        {"name": m.name, "label": f"{m.task}: {heading(m)}", "higher": m.higher_is_better, "digits": m.digits}
        for m in summary.metrics
    ]
    return {"systems": list(runs), "metrics": metrics, "faces": faces}


def picture_uri(picture: Tensor) -> str:
    """A picture (3, H, W), RGB in [0, 1], as a WebP of at most 192 pixels in a data URI."""
    image = to_pil_image(picture.cpu().clamp(0, 1))
    if max(image.size) > _LONGEST:
        scale = _LONGEST / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "WEBP", quality=90)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _body(
    summary: Summary,
    described: Mapping[str, Mapping[str, object]],
    notes: Sequence[str],
    not_measured: Mapping[str, str],
) -> str:
    systems = TextTable(
        "Systems",
        ["system", *next(iter(described.values()))],
        [[name, *("" if v is None else str(v) for v in given.values())] for name, given in described.items()],
        [None] * len(described),
        [""] * len(described),
    )
    parts = ["<section id='verdicts'>", *(f"<p>{html.escape(v)}</p>" for v in verdicts(summary)), "</section>"]
    parts += [_table(quality_table(summary, task)) for task in ("reconstruction", "edit")]
    parts += [_table(cost_table(summary))]
    pairs = [_table(test_table(summary, *pair)) for pair in pairs_of(summary)]
    if pairs:
        parts.append(
            "<details><summary>Paired tests</summary><p class='note'>Effects are rank-biserial correlations, -1 to 1. "
            f"A difference is called one where p, corrected for all {len(summary.comparisons)} tests, is below "
            f"{LEVEL}.</p>"
        )
        parts += [*pairs, "</details>"]
    parts += [_table(systems), _notes("How it was done", notes)]
    reasons = [f"{name}: {reason}" for name, reason in not_measured.items()]
    parts.append(_notes("Not measured", reasons) if reasons else "")
    parts.append(_published(summary))
    return "\n".join(parts)


def _published(summary: Summary) -> str:
    published = summary.published
    names = list(dict.fromkeys(n for emotions in published["methods"].values() for f in emotions.values() for n in f))
    rows = [
        [f"published: {method}", emotion, *(str(figures.get(name, "")) for name in names)]
        for method, emotions in published["methods"].items()
        for emotion, figures in emotions.items()
    ]
    each = TextTable("Each emotion", ["method", "emotion", *names], rows, [None] * len(rows), [""] * len(rows))
    source, about = (html.escape(published[key]) for key in ("source", "about"))
    return (
        f"<section class='published'>{_table(published_rows(summary))}<p class='note'>Published, not measured here. "
        f"{source}. {about}</p><details><summary>Each emotion</summary>{_table(each)}</details></section>"
    )


def _notes(title: str, notes: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
    return f"<h2>{title}</h2><ul class='note'>{items}</ul>"


def _table(table: TextTable) -> str:
    head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in table.columns)
    rows = []
    for row, best, about in zip(table.rows, table.best, table.about, strict=True):
        cells = [f"<th scope='row' title='{html.escape(about, quote=True)}'>{html.escape(row[0])}</th>"]
        cells += [
            f"<td{' class=best' if i == best else ''}>{html.escape(cell)}</td>" for i, cell in enumerate(row) if i
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    title = html.escape(table.title)
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f"<h2>{title}</h2><div class='wide'><table>{body}</table></div>"
