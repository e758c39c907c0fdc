"""Editing a folder of photographs: how much of the time the denoiser takes, and how far few steps are from many.

The folder goes through what `diffrig-emo edit --emotion happy` runs, models loaded: pictures are read, codes read off
them, faces inverted and painted, pictures written. The network is DiffusionRig's at 256 pixels with random weights,
which changes no time; steps are few, which can only make the rest look larger.

The samplers are compared on the rig that comes with the package: PSNR to what 1000 DDIM steps paint from the same
latents, inverted ones and noise.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffrig_emo.datasets.photos import list_photos
from diffrig_emo.diffusion import Spacing, even_spacing, log_snr_timesteps
from diffrig_emo.io.images import write_image
from diffrig_emo.metrics.functional.image import psnr
from diffrig_emo.modules import FaceDiffusion, FaceEncoder
from diffrig_emo.structures import face_collate
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.transforms.edits import transfer_expression
from diffrig_emo.utils.malloc import keep_freed_memory
from diffrig_emo.workflows.editing.changes import Request, plan
from diffrig_emo.workflows.editing.faces import FaceReader
from diffrig_emo.workflows.editing.painting import Painting
from diffrig_emo.workflows.editing.rigs import Reach
from diffrig_emo.workflows.editing.runs import Run
from diffrig_emo.workflows.editing.writing import Writer
from diffrig_emo.workflows.experiment import load_experiment
from diffrig_emo.workflows.shipped import shipped_encoder, shipped_rig
from diffrig_emo.workflows.study_parts import quiet

PHOTOS, BATCH, STEPS = 4, 2, 5
FACES, MANY = 4, 1000
"""Of the comparison of samplers."""


class Stopwatch:
    """Seconds spent inside a module's forward pass, whoever calls it."""

    def __init__(self, module: nn.Module) -> None:
        self.seconds = 0.0
        self._started = 0.0
        module.register_forward_pre_hook(self._start)
        module.register_forward_hook(self._stop)

    def _start(self, module: nn.Module, inputs: object) -> None:
        self._started = now()

    def _stop(self, module: nn.Module, inputs: object, output: object) -> None:
        self.seconds += now() - self._started


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def rig_256(overrides: Sequence[str] = ()) -> FaceDiffusion:
    """The 256 config with random weights, in eval mode."""
    with tempfile.TemporaryDirectory() as folder:
        options = [*quiet(Path(folder), 0, 1), *overrides]
        rig = load_experiment("fit_synthetic_256.yaml", options).model
    assert isinstance(rig, FaceDiffusion)
    return rig.eval()


def write_photos(folder: Path, number: int, size: int) -> None:
    faces = SyntheticFaces(number, size, seed=3)
    for i in range(number):
        write_image(folder / f"{i}.png", faces[i]["image"])


def edit_folder(rig: FaceDiffusion, encoder: FaceEncoder, photos: Path, output: Path, batch_size: int) -> None:
    """Make every face of a folder happy."""
    reach = Reach.of(rig)
    device = rig.device
    reader = FaceReader(reach, encoder.to(device), device=device)
    edits = plan(Request(emotion="happy"), reach, lambda path, mode: reader.read(path)[0])
    run = Run(rig, reader, edits, Painting(), None, Writer(output, {}), False, batch_size, None)
    run.edit_photos(list_photos(photos), None, None, None, None)


def denoiser_share(
    rig: FaceDiffusion, photos: int = PHOTOS, batch_size: int = BATCH, steps: int = STEPS
) -> dict[str, dict[str, Any]]:
    """Seconds per photograph, and the share of them inside the denoiser."""
    rig.set_steps(steps)
    encoder = shipped_encoder()
    watch = Stopwatch(rig.denoiser)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        size = rig.conditioners[0].renderer.size[0]
        for name, number in {"first": 1, "photos": photos}.items():
            write_photos(folder / name, number, size)
        edit_folder(rig, encoder, folder / "first", folder / "warm", 1)
        watch.seconds, started = 0.0, now()
        edit_folder(rig, encoder, folder / "photos", folder / "edits", batch_size)
        seconds = now() - started
    return {
        "edit_folder_256_denoiser_share": {"value": 100 * watch.seconds / seconds, "unit": "%"},
        "edit_folder_256_per_photo": {"value": seconds / photos, "unit": "s"},
    }


def closeness(rig: FaceDiffusion, faces: int = FACES, many: int = MANY) -> dict[str, dict[str, Any]]:
    """PSNR of edits in few steps to the same edits in `many` DDIM steps, from the same latents."""
    people = SyntheticFaces(faces, rig.conditioners[0].renderer.size[0], seed=3)
    batch = face_collate([people[i] for i in range(faces)])
    codes = transfer_expression(batch["codes"], batch["codes"][torch.arange(faces).roll(-1)])
    latent = rig.invert(batch["image"], rig.condition(batch))
    few = {
        "dpm10": (10, "dpm", even_spacing),
        "ddim10": (10, "ddim", even_spacing),
        "ddim20": (20, "ddim", even_spacing),
        "ddim20_log_snr": (20, "ddim", log_snr_timesteps),
    }
    figures = {}
    for start in ("inverted", "noise"):

        def paint(steps: int, sampler: str, spacing: Spacing = even_spacing, start: str = start) -> Tensor:
            rig.timesteps = spacing(steps, rig.schedule)
            return rig.edit(batch, codes=codes, start=start, latent=latent, sampler=sampler)

        wanted = paint(many, "ddim")
        for name, how in few.items():
            close = float(psnr(paint(*how), wanted).mean())
            figures[f"edit_{name}_to_ddim{many}_{start}"] = {"value": close, "unit": "dB"}
    return figures


def benchmarks() -> dict[str, dict[str, Any]]:
    keep_freed_memory()
    return {**denoiser_share(rig_256()), **closeness(shipped_rig())}
