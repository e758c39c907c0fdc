"""A self-contained HTML page and a picture grid of edits."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from torchvision.utils import make_grid

from diffrig_emo.transforms.ranges import to_unit
from diffrig_emo.workflows.edit_evaluation import Edited

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 1200px; padding: 0 1rem; color: #222 }
h1, h2 { font-weight: 600 } h2 { margin-top: 2.5rem }
table { border-collapse: collapse } th, td { padding: .2rem .5rem; text-align: center; font-size: 13px }
th { font-weight: 500; color: #555 } td.number { text-align: right; font-variant-numeric: tabular-nums }
td.name, th.name { text-align: left } tr:hover td { background: #f6f6f6 }
img { width: 112px; height: auto; image-rendering: auto; border-radius: 4px; display: block }
.good { color: #16722e } .bad { color: #b3261e } p.note { color: #555; max-width: 46rem }
"""


def edit_columns(edited: Edited, inferred: Edited | None = None) -> dict[str, Tensor]:
    """Pictures of an edit, column by column, RGB in [0, 1]."""
    buffers = edited.buffers
    columns = {
        "source": edited.source,
        "donor": edited.donor,
        "rendered": buffers.rendered.clamp(0, 1),
        "normal": (to_unit(buffers.normal) * buffers.mask).clamp(0, 1),
        "albedo": buffers.albedo.clamp(0, 1),
        "edit": edited.edit,
    }
    if inferred is not None:
        columns["edit, inferred codes"] = inferred.edit
    columns["true edit"] = edited.true_edit
    return columns


def picture_grid(columns: Sequence[dict[str, Tensor]], rows: int) -> Tensor:
    """Join the first faces of several edits to one picture (3, H, W), a row per face."""
    pictures = [picture for edit in columns for i in range(rows) for picture in [c[i] for c in edit.values()]]
    grid: Tensor = make_grid(torch.stack(pictures), nrow=len(columns[0]), padding=2, pad_value=1.0)
    return grid


def report_html(
    title: str,
    note: str,
    tables: dict[str, list[dict[str, Any]]],
    galleries: dict[str, dict[str, Tensor]],
    config: str,
    rows: int = 8,
) -> str:
    """Write the report as one HTML page with its pictures inside.

    Args:
        title: heading.
        note: a paragraph under it.
        tables: heading to rows; a row is column name to text or number, and `good` to a verdict or None.
        galleries: heading to columns of pictures (B, 3, H, W) in [0, 1].
        config: resolved config, shown at the end.
        rows: faces shown per gallery.
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(title)}</h1><p class='note'>{html.escape(note)}</p>",
    ]
    for heading, lines in tables.items():
        parts.append(f"<h2>{html.escape(heading)}</h2>{_table(lines)}")
    for heading, columns in galleries.items():
        parts.append(f"<h2>{html.escape(heading)}</h2>{_gallery(columns, rows)}")
    parts.append(f"<h2>Config</h2><pre>{html.escape(config)}</pre></body></html>")
    return "\n".join(parts)


def _table(lines: list[dict[str, Any]]) -> str:
    names = [name for name in lines[0] if name != "good"]
    head = "".join(f"<th class='name'>{html.escape(name)}</th>" for name in names)
    body = []
    for line in lines:
        verdict = {None: "", True: "good", False: "bad"}[line.get("good")]
        cells = []
        for name in names:
            value = line[name]
            if isinstance(value, float):
                cells.append(f"<td class='number {verdict}'>{value:.2f}</td>")
            else:
                cells.append(f"<td class='name'>{html.escape(str(value))}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"


def _gallery(columns: dict[str, Tensor], rows: int) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    count = min(rows, len(next(iter(columns.values()))))
    lines = [
        "<tr>" + "".join(f"<td>{_img(pictures[i], name)}</td>" for name, pictures in columns.items()) + "</tr>"
        for i in range(count)
    ]
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _img(picture: Tensor, name: str) -> str:
    image = to_pil_image(picture.clamp(0, 1))
    # Enlarged smoothly once here: browsers differ in how they enlarge small pictures.
    scale = max(1, round(224 / image.width))
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.BICUBIC)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    data = base64.b64encode(stream.getvalue()).decode()
    return f"<img alt={json.dumps(name)} src='data:image/png;base64,{data}'>"
