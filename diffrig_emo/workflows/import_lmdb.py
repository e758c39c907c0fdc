"""`diffrig-emo import-lmdb`: a DiffusionRig cache becomes a code store, picture by picture."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from diffrig_emo.datasets import DiffusionRigLMDB, StoreWriter, merge
from diffrig_emo.datasets.pictures import decode_strictly, encode_jpeg, encode_png, resize

_EVERY = 5.0
"""Seconds between lines of progress."""


def import_lmdb(lmdb: str, output: str, image_size: int = 256, lossless: bool = False) -> None:
    """Copy the pictures of a DiffusionRig or DiffusionRig-EMO cache, and its mean shape, into a code store.

    Buffers are left behind: they are rendered again from codes, which the cache does not hold; `StoreWriter.add` with
    the same keys puts them into the store. Killed at any moment and started again, the same command goes on where it
    was. Records that cannot be read are listed in `skipped.csv` beside the store.

    Args:
        lmdb: the cache: a folder with `data.mdb`, and `mean_shape.pkl` if the album has one.
        output: the store to write or to go on with, such as `faces.h5`.
        image_size: side in pixels of the pictures in the store.
        lossless: keep pictures as PNG, four times larger, instead of JPEG of quality 95.

    Raises:
        FileNotFoundError: when there is no cache.
        ValueError: when the cache is damaged, or the store was begun with other settings.
        StoreLockedError: when another process writes the same store.
        OSError: when the disk is full.
    """
    if image_size < 8:
        raise ValueError(f"import-lmdb: image_size must be at least 8, got {image_size}")
    console = Console(highlight=False, soft_wrap=True)
    cache = DiffusionRigLMDB(lmdb)
    provenance = {
        "imported_from": Path(lmdb).resolve().name,
        "records": len(cache),
        "image_size": image_size,
        "encoding": "png" if lossless else "jpeg 95",
    }
    with StoreWriter(output, provenance, mean_shape=cache.mean_shape()) as writer:
        wanted = [number for number in range(len(cache)) if cache.key(number) not in writer]
        console.print(f"{lmdb}: {len(cache):,} faces, {len(cache) - len(wanted):,} of them done before")
        progress = _Progress(console, len(wanted))
        for number in wanted:
            key = cache.key(number)
            try:
                data = cache.image_bytes(number)
                pixels = decode_strictly(data)
            except ValueError as error:
                writer.skip(key, str(error))
            else:
                as_it_is = lossless and pixels.shape[:2] == (image_size, image_size)
                encode = encode_png if lossless else encode_jpeg
                picture = data if as_it_is else encode(resize(pixels, image_size))
                writer.add(key, image=picture, source=cache.path.resolve().name)
            progress(writer.num_added, writer.num_skipped)
    faces = merge(output)
    size = Path(output).stat().st_size
    console.print(
        f"{output}: {faces:,} faces, {size / 2**20:,.1f} MiB ({size / max(faces, 1) / 2**10:,.1f} KiB each); "
        f"{writer.num_skipped:,} skipped, listed in {Path(output).with_name('skipped.csv')}"
    )


class _Progress:
    """A line now and then: how many, how fast, how long still."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._started = self._last = time.monotonic()

    def __call__(self, added: int, skipped: int) -> None:
        now = time.monotonic()
        if now - self._last < _EVERY:
            return
        self._last = now
        done = added + skipped
        rate = done / (now - self._started)
        left = (self._total - done) / rate
        self._console.print(
            f"{done:,} of {self._total:,} faces, {rate:,.0f} a second, {left / 60:,.1f} minutes left, "
            f"{skipped:,} skipped"
        )
