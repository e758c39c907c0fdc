"""`diffrig-emo diffae-interpolate`: the way from one face to another through a diffusion autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from diffrig_emo.datasets.detectors import CascadeDetector, FaceDetector
from diffrig_emo.diffusion import slerp
from diffrig_emo.io.images import write_image
from diffrig_emo.io.video import write_frames
from diffrig_emo.workflows.autoencoder import bundled_picture, load_autoencoder, read_picture

_TOGETHER = 8
"""Pictures painted at once."""


def diffae_interpolate(
    source: Path | None = None,
    target: Path | None = None,
    output: Path = Path("interpolation"),
    autoencoder: Path | None = None,
    num_frames: int = 10,
    steps: int = 20,
    encode_steps: int | None = None,
    clip: Literal["mp4", "gif"] | None = "gif",
    detector: FaceDetector | None = None,
    face_policy: Literal["largest", "center"] | int = "largest",
    whole: bool = False,
    face: int = 0,
) -> None:
    """Go from one face to another: along a line between their semantic codes, on an arc between their noises.

    Writes `00.png`, `01.png`, ..., `strip.png` with all of them, and a clip.

    Example: `diffrig-emo diffae-interpolate --output way` needs no photograph and no official file; `diffrig-emo
    diffae-interpolate --source anna.jpg --target ben.jpg --autoencoder ffhq256_autoenc/last.ckpt --encode_steps 250`.

    Args:
        source: where it begins. None makes a synthetic face.
        target: where it ends. None makes another synthetic face.
        output: folder for the results.
        autoencoder: an official checkpoint, or a run of ours. None is the small one that comes with the package.
        num_frames: pictures, both ends included.
        steps: DDIM steps of painting.
        encode_steps: DDIM steps of finding the photographs' noise; None is as many.
        clip: format of the clip; null makes none.
        detector: finds faces; None is `CascadeDetector`. Landmarks beside a photo (`.txt`, `.mat`) come first.
        face_policy: which face of a photo with several: largest, center, or its number from the left.
        whole: the photographs are cut as FFHQ's already: take them as they are.
        face: which synthetic face, where a photograph is missing; the target is the next one.

    Raises:
        FileNotFoundError: when a photograph or the model is missing.
        ValueError: when a photograph, the model or a setting cannot be used.
    """
    if num_frames < 2:
        raise ValueError(f"num_frames: expected at least 2, got {num_frames}")
    model = load_autoencoder(autoencoder)
    find = CascadeDetector() if detector is None else detector
    ends = [
        bundled_picture(face + number, model.image_size)
        if path is None
        else read_picture(path, model.image_size, find, face_policy, whole)
        for number, path in enumerate((source, target))
    ]
    image = torch.cat(ends)
    z = model.code(image)
    x_t = model.latent(image, z, steps if encode_steps is None else encode_steps)
    shares = torch.linspace(0, 1, num_frames, device=z.device)
    pictures = []
    for some in shares.split(_TOGETHER):
        start, end = (noise.expand(len(some), -1, -1, -1) for noise in x_t.split(1))
        noise = slerp(start, end, some)
        pictures += list(model.paint(torch.lerp(z[:1], z[1:], some[:, None]), noise, steps).cpu())
    for number, picture in enumerate(pictures):
        write_image(output / f"{number:02d}.png", picture)
    write_image(output / "strip.png", torch.cat(pictures, dim=2))
    if clip is not None:
        write_frames(output / f"interpolation.{clip}", [*pictures, *pictures[-2:0:-1]], rate=8)
    Console(highlight=False, soft_wrap=True).print(f"{output}: {num_frames} pictures", markup=False)
