"""`diffrig-emo prepare`: photographs to a code store, on one machine or many, as often interrupted as you like."""

from __future__ import annotations

import dataclasses
import functools
import os
import shutil
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from torch.utils.data import DataLoader

from diffrig_emo.callbacks.store_writer import StoreWriterCallback
from diffrig_emo.datasets import CodeStore, merge
from diffrig_emo.datasets.detectors import CascadeDetector, FaceDetector
from diffrig_emo.datasets.detectors.base import FacePolicy
from diffrig_emo.datasets.mean_shape import mean_shape
from diffrig_emo.datasets.photo_faces import (
    PhotoBatch,
    PhotoFaces,
    file_checksum,
    find_photos,
    join_photos,
    photo_key,
)
from diffrig_emo.datasets.store_format import disk_full, read_layout
from diffrig_emo.datasets.store_parts import parts_folder
from diffrig_emo.modules import FaceEncoder
from diffrig_emo.morphable import FLAME, MorphableEncoder, SyntheticHead
from diffrig_emo.morphable.base import FaceModel
from diffrig_emo.utils.assets import AssetNotFoundError
from diffrig_emo.workflows.choose_encoder import choose_encoder

_EVERY = 5.0
"""Seconds between lines of progress."""
_FLUSH_EVERY = 256
"""Faces in a part: so many are done again, at most, after a kill."""
_TRIED = 6
"""Photos that the estimate is made of."""
_ROW = 800
"""Bytes of a face beyond its codes and picture, about: landmarks mostly."""
_COMPARED = 16
"""Stored photos that are compared with those of the folder."""


def prepare(
    images: Path,
    output: Path,
    encoder: MorphableEncoder | Path | None = None,
    detector: FaceDetector | None = None,
    face_policy: FacePolicy = "largest",
    image_size: int = 256,
    store_images: bool = False,
    album: bool = False,
    limit: int | None = None,
    resume: bool = True,
    batch_size: int = 16,
    num_workers: int | None = None,
    devices: int = 1,
    num_nodes: int = 1,
    prefix: str = "",
) -> None:
    """Find the faces of a folder of photographs, read their codes, and keep them in one file.

    Killed at any moment and started again, the same command goes on where it was. Photographs that cannot be used are
    listed in `skipped.csv` beside the store; a later run tries them again.

    Args:
        images: folder of photographs, searched with all folders below it.
        output: the store to write or to go on with, such as `faces.h5`.
        encoder: reads the codes: a class such as EMOCA or DECA (both find their files among the assets; or
            `--encoder.path FILE`), or a run of ours (`demo_output/encoder`), to which the whole photo is the face. None
            is EMOCA if its files are found, else DECA.
        detector: finds faces; None is `CascadeDetector`. Landmarks beside a photo (`.txt`, `.mat`) come first.
        face_policy: which faces of a photo: the "largest", the nearest to the "center", "all", or which one from the
            left, from 0.
        image_size: side in pixels of the aligned pictures that codes and stored pictures refer to.
        store_images: keep the aligned pictures too, as JPEG. Otherwise training reads them from the photos.
        album: all photos show one person: keep the mean of their shape codes with them.
        limit: take only the first so many photographs, in the order of their names.
        resume: go on with what is there; false refuses to touch a store that exists.
        batch_size: photographs per step.
        num_workers: processes that read photos and find faces; None is one per core, at most 8. A detector that runs on
            a GPU needs 0.
        devices: accelerators to use on this machine.
        num_nodes: machines that share the work; see the documentation, "Prepare on many machines".
        prefix: put before the photos' names in the store, as a folder, to keep photos of several folders in one store.

    Raises:
        FileNotFoundError: when there is no photograph, or no encoder.
        StoreLockedError: when another process writes the same store.
        ValueError: when a setting cannot be used, the store was begun with others or with photos of another folder, or
            no photograph could be used.
        OSError: when the store cannot be written, or the disk is full.
    """
    _require_positive(image_size=image_size, limit=limit, batch_size=batch_size, devices=devices, num_nodes=num_nodes)
    workers = min(8, os.cpu_count() or 1) if num_workers is None else num_workers
    photos = find_photos(images)[:limit]
    prefix = prefix.strip("/")
    _require_own_store(output, images, prefix, resume)
    chosen = choose_encoder(encoder)
    find = None if chosen.takes_whole else CascadeDetector() if detector is None else detector
    writer = StoreWriterCallback(
        str(output),
        {
            "encoder": chosen.name,
            "weights_sha256": chosen.digest,
            "detector": type(find).__name__ if find is not None else "none",
            "face_policy": face_policy,
            "image_size": image_size,
            "encoding": "jpeg 95" if store_images else "none",
            "photos": images.resolve().name,
            **({"prefix": prefix} if prefix else {}),
        },
        _FLUSH_EVERY,
        _face_model(chosen.model.encoder.space),
        image_size,
    )
    # Not in bfloat16: the same face must get the same codes on every machine.
    trainer = L.Trainer(
        devices=devices,
        num_nodes=num_nodes,
        callbacks=[writer],
        precision="32-true",
        use_distributed_sampler=False,  # the photos are shared out below
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    console = Console(highlight=False, soft_wrap=True, quiet=not trainer.is_global_zero)
    try:
        # Every process lists what is missing before any of them can add to it: they wait for each other in predict.
        stored = writer.open(trainer.global_rank)
        keys = {photo: photo_key(photo, prefix) for photo in photos}
        _require_same_photos(images, output, {p: stored.checksum(key) for p, key in keys.items()})
        missing = [photo for photo, key in keys.items() if key not in stored]
        console.print(
            f"{images}: {len(photos):,} photographs, {len(photos) - len(missing):,} of them done before. "
            f"Encoder: {chosen.name}, codes of space {chosen.model.encoder.space!r}"
        )
        if missing:
            share = missing[trainer.global_rank :: trainer.world_size]
            crop_size = chosen.model.encoder.image_size
            faces = PhotoFaces(images, share, find, image_size, crop_size, face_policy, store_images, prefix)
            if trainer.is_global_zero:
                _estimate(console, chosen.model, faces, output, len(missing), workers, trainer)
            loader: DataLoader[PhotoBatch] = DataLoader(
                faces,
                batch_size,
                num_workers=workers,
                collate_fn=functools.partial(join_photos, crop_size=crop_size),
            )
            chosen.model.allow_zero_length_dataloader_with_multiple_devices = True  # fewer photos than processes
            trainer.callbacks.append(_Progress(console, len(share), trainer.world_size))  # type: ignore[attr-defined]
            trainer.predict(chosen.model, loader, return_predictions=False)
    finally:
        writer.close()
    if trainer.is_global_zero:
        _finish(console, output, album, len(photos))


def _require_positive(**numbers: int | None) -> None:
    for name, value in numbers.items():
        if value is not None and value < 1:
            raise ValueError(f"prepare: {name} must be at least 1, got {value}")


def _face_model(space: str) -> FaceModel | None:
    """The model of a code space, whose landmarks are stored where the detector gives none, if its files are found."""
    if space == SyntheticHead.space:
        return SyntheticHead()
    try:
        model = FLAME() if space.startswith("flame") else None
    except AssetNotFoundError:
        return None
    return model if model is not None and model.space == space else None


def _require_own_store(output: Path, images: Path, prefix: str, resume: bool) -> None:
    """Refuse a store that must not be touched, or that has photos of another folder: names could be the same."""
    if not resume and (output.exists() or any(parts_folder(output).glob("rank*.h5"))):
        raise ValueError(f"{output} is there already: give --resume=true to go on with it, or another --output")
    if not output.exists():
        return
    records = [r for r in read_layout(output).about.provenance if "photos" in r and r.get("prefix", "") == prefix]
    folders = {record["photos"] for record in records}
    name = images.resolve().name
    if folders - {name}:
        raise ValueError(
            f"{output} has the photos of the folder {', '.join(sorted(folders))!r}, not of {name!r}, where other "
            f"photos may have the same names; write another store, or keep them apart by --prefix {name}"
        )


def _require_same_photos(images: Path, output: Path, checksums: dict[str, str]) -> None:
    """Refuse another folder of the same name: some photos that the store has must be those of this folder."""
    known = [photo for photo, checksum in checksums.items() if checksum]
    for photo in known[:: max(1, len(known) // _COMPARED)]:
        if file_checksum(images / photo) != checksums[photo]:
            raise ValueError(
                f"{images / photo} is not the photo that {output} has by this name: it was changed, or {images} is "
                f"another folder of the same name. Write another store, or keep the photos of both folders apart by "
                f"--prefix {images.resolve().parent.name or 'new'}"
            )


def _estimate(
    console: Console,
    model: FaceEncoder,
    faces: PhotoFaces,
    output: Path,
    total: int,
    workers: int,
    trainer: L.Trainer,
) -> None:
    """Say how long it will take and how large it will be, of a few photos; refuse when the disk is too small."""
    started = time.perf_counter()
    photos = [faces[index] for index in range(0, len(faces), max(1, len(faces) // _TRIED))][:_TRIED]
    cutting = (time.perf_counter() - started) / len(photos)
    batch = join_photos(photos, faces.crop_size)
    if not batch["key"]:
        console.print(f"No face in the first {len(photos)} photos tried, so nobody knows how long it will take")
        return
    device = trainer.strategy.root_device
    crop = batch["crop"].to(device)
    model = model.to(device)
    with torch.inference_mode():
        codes = model(crop[0])  # the first pass allocates
        started = time.perf_counter()
        model(crop).cam.cpu()  # waits for the device
    encoding = (time.perf_counter() - started) / len(photos)
    cutting /= min(max(workers, 1), os.cpu_count() or 1)
    seconds = cutting + encoding if device.type == "cpu" or not workers else max(cutting, encoding)
    values = [getattr(codes, field.name) for field in dataclasses.fields(codes)]
    row = sum(value.nbytes for value in values if isinstance(value, torch.Tensor)) + _ROW
    size = (sum(len(jpeg) + row for jpeg in batch["jpeg"]) / len(photos)) * total
    console.print(
        f"About {_duration(seconds * total / trainer.world_size)} and {size / 2**20:,.1f} MiB for {total:,} photos, "
        f"judged by {len(photos)} of them"
    )
    free = shutil.disk_usage(parts_folder(output)).free
    if free < 2 * size:  # the parts, and the one file made of them
        raise disk_full(output, f"it needs about {2 * size / 2**20:,.0f} MiB, {free / 2**20:,.0f} MiB are free")


class _Progress(Callback):
    """A line now and then: how many, how fast, how long still."""

    def __init__(self, console: Console, total: int, world_size: int) -> None:
        self._console = console
        self._total = total
        self._where = "" if world_size == 1 else f" of this process, one of {world_size}"
        self._done = self._skipped = 0
        self._started = self._last = time.monotonic()

    def on_predict_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._skipped += len(batch["skipped"])
        self._done += len(set(batch["path"])) + len(batch["skipped"])
        now = time.monotonic()
        if now - self._last < _EVERY:
            return
        self._last = now
        rate = self._done / (now - self._started)
        self._console.print(
            f"{self._done:,} of {self._total:,} photos{self._where}, {rate:,.1f} a second, "
            f"{_duration((self._total - self._done) / rate)} left, {self._skipped:,} skipped"
        )


def _finish(console: Console, output: Path, album: bool, photos: int) -> None:
    """See that what is written is one file, and say what it is."""
    faces = merge(output)
    store = CodeStore(output)
    skipped = output.with_name("skipped.csv")
    if not faces:
        raise ValueError(f"none of the {photos:,} photographs could be used; {skipped} says why")
    if album:
        merge(output, mean_shape=mean_shape(store))
    size = output.stat().st_size
    console.print(
        f"{output}: {faces:,} faces, {size / 2**20:,.1f} MiB ({size / faces / 2**10:,.1f} KiB each); "
        f"{len(store.skipped):,} photos skipped, listed in {skipped}"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:,.0f} seconds"
    return f"{seconds / 60:,.0f} minutes" if seconds < 5400 else f"{seconds / 3600:,.1f} hours"
