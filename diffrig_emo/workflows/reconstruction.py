"""How well a diffusion autoencoder gives its photographs back (Preechakul et al. 2022, section 4.1 and appendix)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.diffusion import face_noise
from diffrig_emo.metrics.functional.image import ssim
from diffrig_emo.metrics.functional.perceptual import PictureDistance, lpips
from diffrig_emo.workflows.autoencoder import Autoencoder

_TOGETHER = 8
"""Pictures at once."""


@torch.no_grad()
def reconstruction_scores(
    autoencoder: Autoencoder,
    images: Float[Tensor, "batch 3 size size"],
    steps: int,
    start: Literal["inverted", "noise"] = "inverted",
    network: PictureDistance | None = None,
    seed: int = 0,
) -> dict[str, Float[Tensor, " batch"]]:
    """Distances between photographs and what the autoencoder makes of them.

    Args:
        autoencoder: the model.
        images: photographs that it has not seen, RGB in [0, 1].
        steps: DDIM steps of painting and, with "inverted", as many of finding the noise.
        start: "inverted" paints from the photograph's own x_T, "noise" from a random one: then the semantic code alone
            says what is painted.
        network: gives LPIPS; None leaves it out.
        seed: with the photograph's number, fixes the random noise.

    Returns:
        `ssim`, `mse` (of values in [0, 1], mean over colours and pixels) and, with a network, `lpips`, each (batch,).

    Raises:
        ValueError: when no grid visits so many steps, or the pictures are of another size.
    """
    scores: dict[str, list[Tensor]] = {}
    for numbers in torch.arange(len(images)).split(_TOGETHER):
        image = images[numbers].to(autoencoder.device)
        z = autoencoder.code(image)
        if start == "inverted":
            x_t = autoencoder.latent(image, z, steps)
        else:
            x_t = face_noise(seed, numbers, tuple(image.shape[1:]))
        painted = autoencoder.paint(z, x_t, steps)
        found = {"ssim": ssim(painted, image), "mse": (painted - image).square().mean(dim=(1, 2, 3))}
        if network is not None:
            found["lpips"] = lpips(painted, image, network)
        for name, values in found.items():
            scores.setdefault(name, []).append(values.cpu())
    return {name: torch.cat(values) for name, values in scores.items()}
