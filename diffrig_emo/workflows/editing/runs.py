"""One run of `diffrig-emo edit`: photographs some at a time, or a clip, and what could not be done."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torchvision.utils import make_grid

from diffrig_emo.io.provenance import write_edited_clip
from diffrig_emo.modules import FaceDiffusion
from diffrig_emo.workflows.editing.changes import Edit
from diffrig_emo.workflows.editing.clips import (
    FollowedFace,
    driven_frames,
    edited_frames,
    follow,
    interpolated_frames,
)
from diffrig_emo.workflows.editing.faces import Face, FaceReader
from diffrig_emo.workflows.editing.painting import EditedFace, Painting, edit_faces, paste_faces
from diffrig_emo.workflows.editing.writing import GRID_ROWS, Writer, result_names

_MANY_FACES = 100_000
"""Noise of a photo's further faces is numbered from multiples of this."""


class Run:
    """What a run was told; its methods write all files, and raise in the end for what could not be done."""

    def __init__(
        self,
        rig: FaceDiffusion,
        reader: FaceReader,
        edits: Sequence[Edit],
        painting: Painting,
        mean_shape: Float[Tensor, " n_shape"] | None,
        writer: Writer,
        paste: bool,
        batch_size: int,
        clip: Literal["gif", "mp4"] | None,
    ) -> None:
        self.rig = rig
        self.reader = reader
        self.edits = edits
        self.painting = painting
        self.mean_shape = mean_shape
        self.writer = writer
        self.paste = paste
        self.batch_size = batch_size
        self.clip = clip
        self.console = Console(highlight=False, soft_wrap=True)

    def edit_clip(self, path: Path, smoothing: int) -> None:
        """Edit the frames of a clip, and write a clip for each edit."""
        followed = follow(path, self.reader, smoothing, self.batch_size)
        for edit in self.edits:
            frames = edited_frames(
                self.rig, followed, self.reader, edit, self.painting, self.mean_shape, self.paste, self.batch_size
            )
            name = edit.name or "edited"
            shown = track(frames, f"Editing {path.name}", total=len(followed.usable), console=self.console)
            self._write_clip(f"{path.stem}_{name}", shown, followed.rate, path, name)
        self.writer.summary({}, followed.problems)
        self.console.print(f"{len(self.edits)} edits of {path}: {self.writer.output}", markup=False)
        _raise_problems(followed.problems)

    def edit_photos(
        self,
        sources: Sequence[Path],
        bundled: Sequence[Face] | None,
        target: Face | None,
        driving: FollowedFace | None,
        interpolate: int | None,
    ) -> None:
        """Edit photographs, some at a time; what cannot be used is left out and named in the end."""
        skipped: dict[Path, str] = {}
        edited: list[EditedFace] = []
        photos = 0
        for group in self._groups(sources, bundled, skipped):
            photos += len(group)
            if interpolate is not None or driving is not None:
                for number, name, faces in group:
                    self._animate(number, name, faces, driving, interpolate)
            else:
                # Without their photographs, which no memory holds for a large folder.
                edited += [_without_photo(done) for done in self._edit_group(group)][: GRID_ROWS - len(edited)]
        problems = () if driving is None else driving.problems
        if edited:
            self.writer.grid(edited, None if target is None else target.aligned)
        self.writer.summary(skipped, problems)
        for path, reason in skipped.items():
            self.console.print(f"skipped {path}: {reason}", markup=False)
        where = self.writer.output
        if not photos:
            raise ValueError(
                f"none of the {len(sources)} source photographs could be used; see {where / 'skipped.csv'}"
            )
        self.console.print(f"{photos * len(self.edits)} edits of {photos} photographs: {where}", markup=False)
        if skipped:
            raise ValueError(
                f"{len(skipped)} of {len(sources)} photographs could not be used, see {where / 'skipped.csv'}; the "
                f"other {photos} are done"
            )
        _raise_problems(problems)

    def _groups(
        self, sources: Sequence[Path], bundled: Sequence[Face] | None, skipped: dict[Path, str]
    ) -> Iterator[list[tuple[int, str, list[Face]]]]:
        """Photos with number, name and faces, as many at a time as make a batch."""
        if bundled is not None:
            yield [(0, bundled[0].path.name, list(bundled))]
            return
        group: list[tuple[int, str, list[Face]]] = []
        names = result_names(sources)
        listed = track(sources, "Editing", console=self.console, disable=len(sources) == 1)
        for number, path in enumerate(listed):
            try:
                faces = self.reader.read(path)
            except (ValueError, OSError) as error:
                if len(sources) == 1 and isinstance(error, ValueError):
                    raise
                skipped[path] = " ".join(str(error).split())
                continue
            group.append((number, names[number], faces))
            if sum(len(item[2]) for item in group) >= self.batch_size:
                yield group
                group = []
        if group:
            yield group

    def _edit_group(self, group: Sequence[tuple[int, str, list[Face]]]) -> list[EditedFace]:
        faces = [face for _, _, found in group for face in found]
        indices = [number + _MANY_FACES * k for number, _, found in group for k in range(len(found))]
        done: list[EditedFace] = []
        for start in range(0, len(faces), self.batch_size):
            part = slice(start, start + self.batch_size)
            done += edit_faces(self.rig, faces[part], self.edits, self.painting, self.mean_shape, indices[part])
        left = iter(done)
        for _, name, found in group:
            own = [next(left) for _ in found]
            for number, edit in enumerate(self.edits):
                pictures = [result.pictures[number] for result in own]
                label = edit.name or "edited"
                if self.paste:
                    self.writer.picture(name, paste_faces(found, pictures), found[0].path, label)
                    continue
                for k, picture in enumerate(pictures):
                    numbered = name if len(found) == 1 else f"{name}_{k}"
                    self.writer.picture(numbered, picture, found[0].path, label)
        return done

    def _animate(
        self, number: int, name: str, faces: Sequence[Face], driving: FollowedFace | None, interpolate: int | None
    ) -> None:
        """Write a strip, an animation or a driven clip for each face and edit."""
        for k, face in enumerate(faces):
            numbered = name if len(faces) == 1 else f"{name}_{k}"
            index = number + _MANY_FACES * k
            for edit in self.edits:
                if driving is not None:
                    label = "_".join(part for part in (edit.name, driving.path.stem) if part)
                    frames = driven_frames(
                        self.rig,
                        face,
                        driving,
                        edit,
                        self.painting,
                        self.mean_shape,
                        self.paste,
                        self.batch_size,
                        index,
                    )
                    self._write_clip(f"{numbered}_{label}", frames, driving.rate, face.path, label)
                    continue
                assert interpolate is not None
                pictures = interpolated_frames(
                    self.rig, face, edit, interpolate, self.painting, self.mean_shape, self.paste, index
                )
                if self.clip is None:
                    strip = make_grid(pictures, nrow=len(pictures), padding=2, pad_value=1.0)
                    self.writer.picture(f"{numbered}_strip", strip, face.path, edit.name)
                else:
                    self._write_clip(f"{numbered}_{edit.name}", pictures, 12, face.path, edit.name)

    def _write_clip(self, name: str, frames: Iterable[Tensor], rate: float, source: Path, label: str) -> None:
        path = self.writer.output / f"{name}.{self.clip or 'mp4'}"
        write_edited_clip(path, frames, rate, self.writer.provenance(source, label))


def _without_photo(done: EditedFace) -> EditedFace:
    return dataclasses.replace(done, source=dataclasses.replace(done.source, photo=None))


def _raise_problems(problems: Sequence[str]) -> None:
    if problems:
        raise ValueError("; ".join(problems))
