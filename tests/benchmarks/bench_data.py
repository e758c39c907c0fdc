"""Preparing faces, and reading them: our code store beside the original's cache of the same pictures.

No licensed file is needed: the encoder is DECA's network with random weights, the photos are pieces of scikit-image's
astronaut. `original` is DiffusionRig's cache, written here as its own program does it: per face a PNG and three
pickled float32 buffers in LMDB.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import lmdb
import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut

from diffrig_emo.datasets import CodeStore, StoreWriter, merge, photo_faces, photos
from diffrig_emo.datasets.detectors import CascadeDetector
from diffrig_emo.morphable import DECA, SyntheticHead, SyntheticTexture
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.structures import FaceCodes, face_collate
from diffrig_emo.workflows.prepare import prepare

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.parity.fake_assets import write_fake_deca

PREPARED = 128
"""Photos of the preparation."""
PHOTO_SIZE = 512
FACES = 256
"""Faces that are read."""
BATCH = 16
ROUNDS = 5
ROWS = 100_000
BUFFERS = ("rendered", "normal", "albedo")


def pieces(count: int, size: int, seed: int = 0) -> Iterator[Image.Image]:
    """Squares around the astronaut's face, enlarged."""
    rng = np.random.default_rng(seed)
    photo = Image.fromarray(astronaut())
    for _ in range(count):
        x, y, side = int(rng.integers(60, 120)), int(rng.integers(0, 30)), int(rng.integers(240, 300))
        yield photo.crop((x, y, x + side, y + side)).resize((size, size), Image.Resampling.LANCZOS)


class Stopwatch:
    """Processor seconds spent in some functions: whatever else the machine does is not counted."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - started

        return timed


def preparation(folder: Path) -> dict[str, Any]:
    """One process without workers, so that what is left of its time is its own."""
    for number, picture in enumerate(pieces(PREPARED, PHOTO_SIZE)):
        (folder / "photos").mkdir(exist_ok=True)
        picture.save(folder / "photos" / f"{number:03d}.jpg", quality=95)
    encoder = DECA(write_fake_deca(folder, small=True))
    watch, threads = Stopwatch(), torch.get_num_threads()
    torch.set_num_threads(1)  # a second one would spin, and count, while there is nothing for it to do
    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_num_threads, threads)
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        prepare(folder / "photos", folder / "warm.h5", encoder=encoder, num_workers=0, limit=BATCH)
        for owner, name in ((photos, "read_image"), (DECA, "forward"), (CascadeDetector, "__call__")):
            stack.enter_context(mock.patch.object(owner, name, watch(getattr(owner, name))))
        started, busy = time.perf_counter(), time.process_time()
        prepare(folder / "photos", folder / "prepared.h5", encoder=encoder, num_workers=0, store_images=True)
        wall, busy = time.perf_counter() - started, time.process_time() - busy
    store = CodeStore(folder / "prepared.h5")
    pictures = sum(len(store.image_bytes(i)) for i in range(len(store)))
    return {
        "prepare_own_share_of_time": {"value": 100 * (1 - watch.seconds / busy), "unit": "%"},
        "prepare_photos_per_second": {"value": PREPARED / wall, "unit": "photos/s"},
        "store_bytes_per_face_beyond_images": {
            "value": ((folder / "prepared.h5").stat().st_size - pictures) / len(store),
            "unit": "B",
        },
    }


def write_original(path: Path) -> None:
    """The cache that DiffusionRig's scripts leave behind."""
    rng = np.random.default_rng(1)
    with lmdb.open(str(path), map_size=2**36) as environment:
        for number, picture in enumerate(pieces(FACES, 256)):
            stream = io.BytesIO()
            picture.save(stream, "PNG")
            with environment.begin(write=True) as write:
                write.put(f"image_{number:06d}".encode(), stream.getvalue())
                for name in BUFFERS:
                    buffer = torch.from_numpy(rng.random((3, 256, 256), np.float32))
                    write.put(f"{name}_{number:06d}".encode(), pickle.dumps(buffer))
        with environment.begin(write=True) as write:
            write.put(b"length", str(FACES).encode())


def write_store(path: Path) -> None:
    """The same pictures as JPEG, with codes of FLAME's sizes."""
    codes = FaceCodes.zeros(1, n_shape=100, n_tex=50, n_exp=50, space="flame2020").replace(tform=torch.eye(3)[None])
    with StoreWriter(path, {"encoder": "none"}) as writer:
        for number, picture in enumerate(pieces(FACES, 256)):
            jpeg = photo_faces.encode_jpeg(np.asarray(picture))
            known = {"photo_to_aligned": torch.eye(3), "quality": {"score": 1.0}}
            writer.add(f"{number:06d}.png", codes=codes, image=jpeg, **known)
    merge(path)


def from_original(environment: lmdb.Environment, numbers: list[int]) -> list[torch.Tensor]:
    """A batch as DiffusionRig's data set makes it."""
    items = []
    with environment.begin() as read:
        for number in numbers:
            picture = Image.open(io.BytesIO(read.get(f"image_{number:06d}".encode())))
            image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
            items.append([image, *(pickle.loads(read.get(f"{name}_{number:06d}".encode())) for name in BUFFERS)])
    return [torch.stack(column) for column in zip(*items, strict=True)]


def reading(folder: Path) -> dict[str, Any]:
    """Batches of both in turn, in one order, everything in the page cache after the first round."""
    write_original(folder / "original")
    write_store(folder / "faces.h5")
    store = CodeStore(folder / "faces.h5")
    order = np.random.default_rng(2).permutation(FACES).reshape(-1, BATCH).tolist()
    seconds: dict[str, list[float]] = {"original": [], "store": []}
    with lmdb.open(str(folder / "original"), readonly=True, lock=False, readahead=False) as environment:
        read: dict[str, Callable[[list[int]], object]] = {
            "original": lambda numbers: from_original(environment, numbers),
            "store": lambda numbers: face_collate([store[number] for number in numbers]),
        }
        for round_number in range(ROUNDS + 1):
            for name, batch in read.items():
                started = time.perf_counter()
                for numbers in order:
                    batch(numbers)
                if round_number > 0:
                    seconds[name].append(time.perf_counter() - started)
    ratios = [o / s for o, s in zip(seconds["original"], seconds["store"], strict=True)]
    original_bytes = (folder / "original" / "data.mdb").stat().st_size / FACES
    store_bytes = (folder / "faces.h5").stat().st_size / FACES
    return {
        "read_original_lmdb": {"value": FACES / min(seconds["original"]), "unit": "faces/s"},
        "read_store_256_jpeg": {"value": FACES / min(seconds["store"]), "unit": "faces/s"},
        "read_store_over_original": {"value": float(np.median(ratios)), "unit": "x samples/s"},
        "bytes_per_face_original": {"value": original_bytes, "unit": "B"},
        "bytes_per_face_store": {"value": store_bytes, "unit": "B"},
        "bytes_original_over_store": {"value": original_bytes / store_bytes, "unit": "x"},
    }


def rendering() -> Callable[[], object]:
    """What the store leaves to the training device: the buffers of a batch."""
    head, texture, renderer = SyntheticHead(), SyntheticTexture(), BufferRenderer(256)
    codes = FaceCodes.zeros(BATCH, n_shape=head.n_shape, n_tex=texture.n_tex, n_exp=head.n_exp, space=head.space)

    @torch.no_grad()
    def render() -> object:
        return renderer(head(codes), head.topology, texture(codes.tex), codes)

    return render


MEMORY = """
import os, sys
from pathlib import Path
import numpy as np
from diffrig_emo.datasets import CodeStore
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
store = CodeStore(sys.argv[1])
order = np.random.default_rng(0).permutation(len(store))
for number in order[:100]:
    store[int(number)]
before = resident()
for number in order:
    store[int(number)]
print(resident() - before)
"""


def memory(folder: Path) -> dict[str, Any]:
    """Growth of a process that reads each face of a large store once, in random order."""
    path = folder / "large.h5"
    codes = FaceCodes.zeros(1, n_shape=4, n_tex=2, n_exp=2, space="tiny")
    jpeg = photo_faces.encode_jpeg(np.full((8, 8, 3), 128, np.uint8))
    with StoreWriter(path, {"encoder": "none"}, flush_every=10_000) as writer:
        for number in range(ROWS):
            writer.add(f"{number:06d}.jpg", codes=codes, image=jpeg)
    merge(path)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", MEMORY, str(path)], capture_output=True, check=True)
    return {"memory_growth_reading_100k_faces": {"value": float(done.stdout), "unit": "MiB"}}


def benchmarks() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = {**preparation(folder), **reading(folder), **memory(folder)}
    return {**figures, f"render_buffers_256_batch{BATCH}": rendering()}
