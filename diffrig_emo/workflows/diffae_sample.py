"""`diffrig-emo diffae-sample`: faces of people who do not exist."""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console
from torchvision.utils import make_grid

from diffrig_emo.diffusion import face_generators, strided_timesteps
from diffrig_emo.io.images import write_image
from diffrig_emo.workflows.autoencoder import load_autoencoder, load_prior

_TOGETHER = 8
"""Pictures painted at once."""


def diffae_sample(
    count: int = 8,
    output: Path = Path("samples"),
    autoencoder: Path | None = None,
    prior: Path | None = None,
    steps: int = 20,
    prior_steps: int = 200,
    temperature: float = 1.0,
    seed: int = 0,
) -> None:
    """Draw semantic codes by a latent prior, and paint them from random noise.

    Writes `000.png`, `001.png`, ... and `grid.png`. A number's face depends on it and the seed alone.

    Example: `diffrig-emo diffae-sample --count 16` needs no official file; `diffrig-emo diffae-sample --autoencoder
    ffhq256_autoenc_latent/last.ckpt` takes both parts from one official checkpoint.

    Args:
        count: how many faces.
        output: folder for the results.
        autoencoder: an official checkpoint, or a run of ours. None is the small one that comes with the package.
        prior: draws the codes: an official checkpoint, or a run of ours. None takes that of the official autoencoder's
            own file, and of the small autoencoder.
        steps: DDIM steps of painting.
        prior_steps: DDIM steps of drawing a code.
        temperature: factor of the noise that pictures are painted from, 0 to 1; below 1 they get smoother, which hides
            the grain of an autoencoder that has trained little, such as the one of the package.
        seed: fixes the faces.

    Raises:
        FileNotFoundError: when a model is missing.
        ValueError: when a model or a setting cannot be used.
    """
    if count < 1:
        raise ValueError(f"count: expected at least 1, got {count}")
    if not 0 <= temperature <= 1:
        raise ValueError(f"temperature: expected a number from 0 to 1, got {temperature}")
    model = load_autoencoder(autoencoder)
    drawing = load_prior(autoencoder if prior is None else prior, model)
    drawing.timesteps = strided_timesteps(prior_steps, drawing.schedule.num_steps)
    pictures = []
    for numbers in torch.arange(count).split(_TOGETHER):
        noises, codes = [], []
        for generator in face_generators(seed, numbers):  # the picture's noise before the code's, as the authors draw
            noises.append(torch.randn(3, model.image_size, model.image_size, generator=generator))
            codes.append(torch.randn(model.dim, generator=generator))
        z = drawing.sample(torch.stack(codes).to(model.device))
        pictures += list(model.paint(z, temperature * torch.stack(noises), steps).cpu())
    for number, picture in enumerate(pictures):
        write_image(output / f"{number:03d}.png", picture)
    write_image(output / "grid.png", make_grid(torch.stack(pictures), nrow=8, padding=2, pad_value=1.0))
    Console(highlight=False, soft_wrap=True).print(f"{output}: {count} faces", markup=False)
