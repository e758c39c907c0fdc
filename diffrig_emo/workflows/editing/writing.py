"""What an edit leaves behind: pictures that say what they are, a grid, the settings, and what was skipped."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torchvision.utils import make_grid

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.json_files import write_json
from diffrig_emo.io.provenance import Provenance, write_edited_image
from diffrig_emo.workflows.editing.painting import EditedFace

GRID_ROWS = 64
"""Faces that the grid shows at most."""


@dataclasses.dataclass(frozen=True)
class Writer:
    """Writes the files of one run."""

    output: Path
    settings: Mapping[str, Any]
    """What the run was told."""
    suffix: str = ".png"
    """Of the pictures."""

    def provenance(self, source: Path, edit: str) -> Provenance:
        """What a file says about itself: the settings that are set, without the folders that files lie in."""
        told = {name: _named(value) for name, value in self.settings.items() if value not in (None, False, [], {})}
        return Provenance({**told, "source": source.name, "edit": edit})

    def picture(self, name: str, image: Float[Tensor, "3 height width"], source: Path, edit: str) -> Path:
        """Write one edited picture."""
        path = self.output / f"{name}_{edit}{self.suffix}"
        write_edited_image(path, image, self.provenance(source, edit))
        return path

    def grid(self, edited: Sequence[EditedFace], target: Float[Tensor, "1 3 size size"] | None) -> None:
        """Write every face, the target, and what became of the face, side by side."""
        rows = []
        for faces in edited[:GRID_ROWS]:
            photos = [faces.source.aligned.cpu(), *([] if target is None else [target.cpu()])]
            shown = [faces.pictures] if faces.rendered is None else [faces.rendered, faces.pictures]
            rows.append(torch.cat([*photos, torch.stack(shown, dim=1).flatten(0, 1)]))
        grid = make_grid(torch.cat(rows), nrow=len(rows[0]), padding=2, pad_value=1.0)
        write_edited_image(self.output / "grid.png", grid, self.provenance(edited[0].source.path, "grid"))

    def summary(self, skipped: Mapping[Path, str], problems: Sequence[str] = ()) -> None:
        """Write the settings, and what was skipped and why."""
        told = {**self.settings, **({"problems": list(problems)} if problems else {})}
        write_json(self.output / "edit.json", told)
        if skipped:
            with atomic_path(self.output / "skipped.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("path", "reason"), *((str(p), why) for p, why in skipped.items())])


def result_names(paths: Sequence[Path]) -> list[str]:
    """A name per photo for its results; `a.jpg` and `a.png` in one folder keep their suffixes.

    Example:
        >>> result_names([Path("in/a.jpg"), Path("in/a.png"), Path("in/b.png")])
        ['a_jpg', 'a_png', 'b']
    """
    stems = [path.stem for path in paths]
    return [p.stem if stems.count(p.stem) == 1 else p.name.replace(".", "_") for p in paths]


def _named(value: Any) -> Any:
    """Without folders, which are nobody's business."""
    if isinstance(value, Path):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): _named(item) for key, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, list | tuple) else value
