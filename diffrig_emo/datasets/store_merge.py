"""Making one code store of many."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.datasets.store_format import (
    About,
    Rows,
    StoreFile,
    columns_of,
    create_store,
    empty_rows,
    is_coded,
    join_columns,
    read_layout,
    row_type,
)
from diffrig_emo.datasets.store_lock import StoreLock
from diffrig_emo.datasets.store_parts import merge_lock, parts_folder
from diffrig_emo.io.atomic import atomic_path


def merge(
    path: str | Path,
    others: Sequence[str | Path] = (),
    *,
    mean_shape: Float[Tensor, " n_shape"] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Make one file of a store, of the parts that writers left for it, and of other stores.

    Faces that the store has keep their numbers; new ones follow in the order of their keys, whatever the number of
    processes and interruptions. A key that comes twice is stored once, with its codes if one of the two has them; that
    of two different photos (told by their checksums) is refused. The store changes at once when everything is written;
    killed before, it is as it was, and `merge` can be called again. What was skipped is listed in `skipped.csv` beside
    the store.

    Args:
        path: the store, new or existing.
        others: further stores to take in, which stay as they are.
        mean_shape: shape code shared by all faces, to be kept with them; None keeps the stores' own.
        progress: called now and then with the faces written and the faces in all.

    Returns:
        The number of faces in the store.

    Raises:
        StoreLockedError: when a process still writes parts.
        ValueError: when there is nothing to merge, a store is damaged, their codes are of different kinds, or two
            photos have the same key.
        OSError: when the disk is full; nothing is changed then.
    """
    path = Path(path)
    folder = parts_folder(path)
    folder.mkdir(parents=True, exist_ok=True)
    lock = merge_lock(path)
    lock.acquire(wait=2)
    try:
        for writer in folder.glob("rank*.lock"):
            probe = StoreLock(writer)
            probe.acquire(wait=2)
            probe.release()
        parts = sorted(folder.glob("rank*.h5"))
        sources = [source for source in [path, *parts, *map(Path, others)] if source.exists() or source in others]
        if not sources:
            raise ValueError(f"{path}: nothing to merge, there is neither a store nor parts of one in {folder}")
        if parts or others or mean_shape is not None:
            plan = _plan(path, sources, mean_shape)
            temporary = folder / "merged.h5"
            try:
                _write(temporary, plan, progress)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
        faces, skipped = _summary(path)
        _write_skipped(path.with_name("skipped.csv"), skipped)
        for part in parts:
            part.unlink()
    finally:
        lock.release()
        if not any(folder.glob("*")):
            shutil.rmtree(folder, ignore_errors=True)
    return faces


@dataclasses.dataclass(slots=True)
class _Place:
    """Where a face goes, and what it brings."""

    number: int
    note: int
    """Bytes of its note."""
    image: int
    """Bytes of its picture."""
    coded: bool
    image_from: int
    """Source that its picture is taken from."""
    codes_from: int
    base: int
    """Source that everything else is taken from."""


@dataclasses.dataclass
class _Plan:
    sources: list[Path]
    places: dict[str, _Place]
    dtype: np.dtype[np.void]
    about: About
    skipped: dict[str, str]


def _plan(path: Path, sources: list[Path], mean_shape: Tensor | None) -> _Plan:
    places: dict[str, _Place] = {}
    skipped: dict[str, str] = {}
    checksums: dict[str, str] = {}
    dtypes, abouts = [], []
    known = 0
    for number, source in enumerate(sources):
        with StoreFile(source) as file:
            dtypes.append(file.layout.dtype)
            abouts.append(file.layout.about)
            skipped |= file.skipped()
            for _, rows in file.blocks():
                for row, coded in zip(rows, is_coded(rows), strict=True):
                    note = file.note(row)
                    key = str(note["key"])
                    _take(places, key, row, bool(coded), number)
                    if "crc32" in note and checksums.setdefault(key, note["crc32"]) != note["crc32"]:
                        raise ValueError(
                            f"{path}: {key!r} in {source} is another photo than in the stores before it. Prepare one "
                            "of the folders again with `--prefix`, which keeps photos of the same name apart"
                        )
        known = len(places) if source == path else known
    keys = list(places)
    for place, key in enumerate([*keys[:known], *sorted(keys[known:])]):
        places[key].number = place
    skipped = {key: skipped[key] for key in sorted(skipped) if key not in places}
    dtype = row_type(join_columns(dtypes))
    return _Plan(sources, places, dtype, _join(path, sources, abouts, mean_shape), skipped)


def _take(places: dict[str, _Place], key: str, row: np.void, coded: bool, source: int) -> None:
    size = int(row["image_size"])
    place = places.get(key)
    if place is None:
        places[key] = _Place(-1, int(row["note_size"]), size, coded, source, source, source)
        return
    if coded and not place.coded:
        place.coded, place.codes_from = True, source
    if size and not place.image:
        place.image, place.image_from = size, source


def _join(path: Path, sources: list[Path], abouts: list[About], mean_shape: Tensor | None) -> About:
    spaces = {about.space: source for about, source in zip(abouts, sources, strict=True) if about.space}
    if len(spaces) > 1:
        raise ValueError(
            f"{path}: codes of different spaces cannot be in one store: "
            + ", ".join(f"{space!r} in {source}" for space, source in spaces.items())
        )
    records: list[Any] = []
    for about in abouts:
        records += [record for record in about.provenance if record not in records]
    encoders = {json.dumps(record["encoder"]) for record in records if record.get("encoder")}
    if len(encoders) > 1:
        names = ", ".join(sorted(encoders))
        raise ValueError(f"{path}: codes of different encoders do not compare and cannot be in one store: {names}")
    shapes = [about.mean_shape for about in abouts if about.mean_shape is not None]
    shape = shapes[-1] if shapes else None
    if mean_shape is not None:
        shape = mean_shape.detach().cpu().float().numpy()
    return About("".join(spaces), tuple(records), shape)


def _write(target: Path, plan: _Plan, progress: Callable[[int, int], None] | None) -> None:
    ordered = sorted(plan.places.values(), key=lambda place: place.number)
    note_starts = _starts(place.note for place in ordered)
    image_starts = _starts(place.image for place in ordered)
    skipped = json.dumps(plan.skipped).encode() if plan.skipped else b""
    sizes = {"notes": note_starts[-1], "images": image_starts[-1], "skipped": len(skipped)}
    layout = create_store(target, plan.dtype, len(ordered), sizes, plan.about)
    done = 0
    with StoreFile(target, layout, writable=True) as out:
        out.write_section("skipped", 0, skipped)
        for number, source in enumerate(plan.sources):
            with StoreFile(source) as file:
                for _, rows in file.blocks():
                    for row in rows:
                        place = plan.places[file.note(row)["key"]]
                        new = out.rows(place.number, 1) if place.base != number else empty_rows(1, plan.dtype)
                        if place.base == number:
                            _copy(row, new, [*columns_of(rows.dtype), "label", "va"])
                            new["note_start"], new["note_size"] = note_starts[place.number], place.note
                            new["image_start"] = image_starts[place.number]
                            out.write_section("notes", note_starts[place.number], file.note_bytes(row))
                        elif place.codes_from == number:
                            _copy(row, new, columns_of(rows.dtype))
                        if place.image_from == number and place.image:
                            new["image_size"], new["image_crc"] = row["image_size"], row["image_crc"]
                            out.write_section("images", image_starts[place.number], file.image_bytes(row))
                        if number in (place.base, place.codes_from, place.image_from):
                            out.write_rows(place.number, new)
                        done += place.base == number
                    if progress is not None:
                        progress(done, len(ordered))
        out.sync()


def _copy(row: np.void, new: Rows, columns: Iterable[str]) -> None:
    for name in columns:
        if not np.isnan(row[name]).all():
            new[name] = row[name]


def _starts(sizes: Iterable[int]) -> list[int]:
    starts = [0]
    for size in sizes:
        starts.append(starts[-1] + size)
    return starts


def _summary(path: Path) -> tuple[int, dict[str, str]]:
    with StoreFile(path, read_layout(path)) as file:
        return file.layout.num_faces, file.skipped()


def _write_skipped(path: Path, skipped: dict[str, str]) -> None:
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("key", "reason"))
        rows.writerows(skipped.items())
