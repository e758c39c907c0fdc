"""Writing faces to a code store, in parts that are complete or absent."""

from __future__ import annotations

import dataclasses
import json
import math
import zlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from diffrig_emo.datasets.store_format import (
    CODES,
    About,
    StoreFile,
    columns_of,
    create_store,
    empty_rows,
    is_coded,
    join_columns,
    row_type,
)
from diffrig_emo.datasets.store_lock import StoreLock
from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.structures import FaceCodes

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG")
"""How JPEG and PNG begin."""


def parts_folder(store: Path) -> Path:
    """Where the parts of an unfinished store wait to be merged."""
    return store.with_name(store.name + ".parts")


def merge_lock(store: Path) -> StoreLock:
    """Held while the parts of a store become one file."""
    return StoreLock(parts_folder(store) / "merge.lock")


@dataclasses.dataclass(frozen=True)
class _Face:
    columns: dict[str, np.ndarray]
    label: int
    va: tuple[float, float]
    note: bytes
    image: bytes


class StoreWriter:
    """Adds faces to a code store, some at a time, so that a run can be killed at any moment and started again.

    Every `flush_every` faces become one small file in the folder `<store>.parts`, which appears at once when it is
    complete. When all processes are done, `merge` makes the parts one store. A run that was interrupted and is started
    again skips what it has: `if key in writer: continue`.

    Args:
        path: the store, new or to be added to.
        provenance: what says how the codes came about, of plain JSON values: encoder, checksums of its assets,
            settings. The library's version is added. An interrupted run can only go on with the same provenance.
        rank: number of this process among those that write the store together.
        flush_every: faces in a part: so many are done again, at most, after a kill.
        mean_shape: shape code shared by all faces of an album, (n_shape,).

    Raises:
        StoreLockedError: when another process writes the store with this rank, or merges it.
        ValueError: when `path` holds something else, or parts of a run with another provenance.
        OSError: when nothing can be written there.

    Example:
        >>> import tempfile
        >>> from diffrig_emo.datasets import CodeStore, merge
        >>> codes = FaceCodes.zeros(1, n_shape=4, n_tex=3, n_exp=2, space="example")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = folder + "/store.h5"
        ...     with StoreWriter(path, {"encoder": "none"}) as writer:
        ...         writer.add("anna/1.jpg", codes=codes, source="album")
        ...         writer.skip("anna/2.jpg", "no face")
        ...     faces = merge(path)
        ...     store = CodeStore(path)
        ...     faces, store[0]["path"], store.codes().space, store.skipped
        (1, 'anna/1.jpg', 'example', {'anna/2.jpg': 'no face'})
    """

    def __init__(
        self,
        path: str | Path,
        provenance: Mapping[str, Any],
        *,
        rank: int = 0,
        flush_every: int = 256,
        mean_shape: Float[Tensor, " n_shape"] | None = None,
    ) -> None:
        if flush_every < 1 or rank < 0:
            raise ValueError(f"flush_every must be at least 1 and rank 0, got {flush_every} and {rank}")
        self.path = Path(path)
        self.flush_every = flush_every
        self.num_added = 0
        """Faces added by this writer."""
        self.num_skipped = 0
        """Keys skipped by this writer."""
        self._provenance = json.loads(json.dumps({**provenance, "diffrig_emo": version("diffrig_emo")}))
        self._mean_shape = None if mean_shape is None else mean_shape.detach().cpu().numpy()
        self._space = ""
        self._coded: dict[str, bool] = {}
        self._checksums: dict[str, str] = {}
        self._skipped: dict[str, str] = {}
        self._old_skipped: dict[str, str] = {}
        self._pending: list[_Face] = []
        self._pending_skipped: dict[str, str] = {}
        self._codes: dict[str, tuple[int, ...]] = {}
        self._parts = parts_folder(self.path)
        self._parts.mkdir(parents=True, exist_ok=True)
        self._name = f"rank{rank:05d}"
        self._lock = StoreLock(self._parts / f"{self._name}.lock")
        self._lock.acquire()
        try:
            merging = merge_lock(self.path)
            merging.acquire(wait=2)
            merging.release()
            self._resume()
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            # Complete faces are kept also when what came after them failed; but a disk that is full stays full.
            if not isinstance(error, OSError):
                self.flush()
        finally:
            self._lock.release()

    def __contains__(self, key: str) -> bool:
        """Whether a face is stored, or was skipped by the run that this one resumes."""
        return key in self._coded or key in self._skipped

    def has_codes(self, key: str) -> bool:
        """Whether a face is stored with its codes."""
        return self._coded.get(key, False)

    def checksum(self, key: str) -> str:
        """Checksum of the photo of a face that was stored before this writer opened; empty when none was kept."""
        return self._checksums.get(key, "")

    def add(
        self,
        key: str,
        *,
        codes: FaceCodes | None = None,
        image: bytes = b"",
        path: str | None = None,
        source: str = "",
        label: int = -1,
        va: tuple[float, float] = (math.nan, math.nan),
        landmarks: Float[Tensor, "68 2"] | None = None,
        photo_to_aligned: Float[Tensor, "3 3"] | None = None,
        quality: Mapping[str, float] | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> None:
        """Add a face; or give codes to a face that is stored without, whose other fields then stay as they are.

        Args:
            key: what tells this face from all others, such as the photo's path below the folder of photos.
            codes: its codes, batch size 1. All codes of a store have the same space, fields and sizes.
            image: its aligned picture, as JPEG or PNG.
            path: where the photo lies; None means that the key is its path.
            source: name of the dataset.
            label: AffectNet emotion, -1 unknown.
            va: valence and arousal in [-1, 1], NaN unknown.
            landmarks: in pixels of the aligned picture.
            photo_to_aligned: similarity from pixels of the photo to pixels of the aligned picture.
            quality: named figures, such as the detector's score.
            notes: other texts to keep with the face, such as its licence or the name of the person.

        Raises:
            ValueError: when the face is already stored, its codes are not finite or unlike those before, or `image`
                is neither JPEG nor PNG.
            OSError: when the disk is full; the face was not lost, the same command goes on from there.
        """
        if key in self._coded and (codes is None or self._coded[key]):
            raise ValueError(f"{self.path}: {key!r} is already stored; ask `key in writer` first")
        if image and not image.startswith(_PICTURES):
            raise ValueError(f"image of {key!r}: expected JPEG or PNG, got bytes that begin with {bytes(image[:4])!r}")
        columns = {} if codes is None else self._code_columns(key, codes)
        known = {"landmarks": landmarks, "photo_to_aligned": photo_to_aligned}
        columns |= {name: _array(tensor) for name, tensor in known.items() if tensor is not None}
        columns |= {f"quality_{name}": np.float32(value) for name, value in (quality or {}).items()}
        note = {"key": key, "path": path, "source": source, **(notes or {})}
        text = json.dumps({name: value for name, value in note.items() if value}, separators=(",", ":"))
        self._pending.append(_Face(columns, label, va, text.encode(), bytes(image)))
        self._coded[key] = codes is not None
        self.num_added += 1
        self._progress()

    def skip(self, key: str, reason: str) -> None:
        """List a photo that cannot be stored. It is tried again only by a run after the store was merged."""
        self.num_skipped += 1
        self._skipped[key] = reason
        if self._old_skipped.get(key) != reason:
            self._pending_skipped[key] = reason
        self._progress()

    def flush(self) -> None:
        """Write what is pending as one more part."""
        if not self._pending and not self._pending_skipped:
            return
        dtype = row_type(join_columns([row_type({n: a.shape for n, a in f.columns.items()}) for f in self._pending]))
        rows = empty_rows(len(self._pending), dtype)
        notes, images = bytearray(), bytearray()
        for row, face in zip(rows, self._pending, strict=True):
            for name, value in face.columns.items():
                row[name] = value
            row["label"], row["va"] = face.label, face.va
            row["note_start"], row["note_size"] = len(notes), len(face.note)
            row["image_start"], row["image_size"] = len(images), len(face.image)
            row["image_crc"] = zlib.crc32(face.image)
            notes += face.note
            images += face.image
        skipped = json.dumps(self._pending_skipped).encode() if self._pending_skipped else b""
        sections: dict[str, bytes | bytearray] = {"notes": notes, "images": images, "skipped": skipped}
        about = About(self._space, (self._provenance,), self._mean_shape)
        with atomic_path(self._parts / f"{self._name}-{self._next_part:06d}.h5") as temporary:
            layout = create_store(temporary, dtype, len(rows), {n: len(d) for n, d in sections.items()}, about)
            with StoreFile(temporary, layout, writable=True) as file:
                file.write_rows(0, rows)
                for name, data in sections.items():
                    file.write_section(name, 0, data)
                file.sync()
        self._next_part += 1
        self._pending, self._pending_skipped = [], {}

    def _progress(self) -> None:
        self._lock.show_life()
        if len(self._pending) + len(self._pending_skipped) >= self.flush_every:
            self.flush()

    def _resume(self) -> None:
        for unfinished in self._parts.glob(f".{self._name}-*"):
            unfinished.unlink()
        if self.path.exists():
            self._read(self.path, "stored before")
        for part in sorted(self._parts.glob("rank*.h5")):
            self._read(part, "of an interrupted run")
        mine = [int(part.stem.rpartition("-")[2]) for part in self._parts.glob(f"{self._name}-*.h5")]
        self._next_part = max(mine, default=-1) + 1

    def _read(self, path: Path, what: str) -> None:
        with StoreFile(path) as file:
            about = file.layout.about
            is_part = path != self.path
            if is_part:
                self._require_same_provenance(about.provenance[0])
                self._skipped |= file.skipped()
            else:
                self._old_skipped = file.skipped()
            if about.space:
                self._space = about.space
                columns = columns_of(file.layout.dtype)
                self._codes = {name: columns[name] for name in CODES if name in columns}
            for _, rows in file.blocks():
                for row, coded in zip(rows, is_coded(rows), strict=True):
                    note = file.note(row)
                    key = note["key"]
                    self._coded[key] = self._coded.get(key, False) or bool(coded)
                    if "crc32" in note:
                        self._checksums[key] = note["crc32"]

    def _require_same_provenance(self, before: Mapping[str, Any]) -> None:
        names = sorted(before.keys() | self._provenance.keys() - {"diffrig_emo"})
        other = [n for n in names if n != "diffrig_emo" and before.get(n) != self._provenance.get(n)]
        if other:
            raise ValueError(
                f"{self.path}: an interrupted run wrote part of it with {other[0]} = {before.get(other[0])!r}, not "
                f"{self._provenance.get(other[0])!r}. Run that command again to complete it, write another store, or "
                f"delete {self._parts} to start afresh"
            )

    def _code_columns(self, key: str, codes: FaceCodes) -> dict[str, Any]:
        if codes.batch_size != 1:
            raise ValueError(f"codes of {key!r}: expected a batch of 1, got {codes.batch_size}; add faces one by one")
        codes.require_finite()
        fields = {name: _array(getattr(codes, name)[0]) for name in CODES if getattr(codes, name) is not None}
        shapes = {name: array.shape for name, array in fields.items()}
        if (self._codes or shapes) != shapes or (self._space or codes.space) != codes.space:
            raise ValueError(
                f"codes of {key!r}: expected space {self._space!r} with the fields {self._codes}, as the other faces "
                f"of {self.path} have, got {codes.space!r} with {shapes}; write another store"
            )
        self._codes, self._space = shapes, codes.space
        return fields


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
