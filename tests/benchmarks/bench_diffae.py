"""Diffusion Autoencoders at the official 256 config: encoding and decoding at T = 20 beside the UNet alone."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch import Tensor

from diffrig_emo.conditioning import SemanticCodeConditioner
from diffrig_emo.diffusion import ConditionedUNet, LinearSchedule, SemanticEncoder, VectorModulation
from diffrig_emo.modules import FaceDiffusion
from diffrig_emo.structures import Conditioning
from diffrig_emo.utils.malloc import keep_freed_memory
from diffrig_emo.workflows.autoencoder import Autoencoder

STEPS = 20


def official_256() -> Autoencoder:
    unet = ConditionedUNet(
        vectors=[VectorModulation("semantic", 512, shift=False)],
        image_size=256,
        base_channels=128,
        channel_mult=(1, 1, 2, 2, 4, 4),
        attention_resolutions=(16,),
        time_embed_dim=512,
    )
    model = FaceDiffusion(unet, [SemanticCodeConditioner(SemanticEncoder())], LinearSchedule())
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return Autoencoder.of(model.eval().to(device))


class Watched(torch.nn.Module):
    """A denoiser that runs twice each time: for the sampler, and once more, timed, as the plain UNet."""

    def __init__(self, denoiser: torch.nn.Module) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.plain: list[float] = []
        self.repeated = 0.0

    def forward(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> Tensor:
        result: Tensor = self.denoiser(x_t, t, conditioning)
        start = now()
        self.denoiser(x_t, t, conditioning)
        self.plain.append(now() - start)
        self.repeated += self.plain[-1]
        return result


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@torch.no_grad()
def benchmarks() -> dict[str, Any]:
    """Whole and plain UNet in turn, so that whatever else the machine does meets both."""
    keep_freed_memory()
    autoencoder = official_256()
    watched = autoencoder.model.denoiser = Watched(autoencoder.model.denoiser)
    image = torch.rand(1, 3, 256, 256)
    autoencoder.paint(torch.zeros(1, 512, device=autoencoder.device), torch.zeros_like(image), 2)  # warms up
    watched.plain.clear()
    watched.repeated = 0.0
    start = now()
    z = autoencoder.code(image)
    encoded = now() - start
    x_t = autoencoder.latent(image, z, STEPS)
    autoencoder.paint(z, x_t, STEPS)
    whole = now() - start - watched.repeated
    assert len(watched.plain) == 2 * STEPS
    return {
        "diffae256_semantic_encoder": {"value": 1000 * encoded, "unit": "ms"},
        "diffae256_unet_forward": {"value": 1000 * statistics.median(watched.plain), "unit": "ms"},
        "diffae256_encode_decode_t20": {"value": 1000 * whole, "unit": "ms"},
        "diffae256_encode_decode_over_unet": {"value": whole / sum(watched.plain), "unit": "ratio"},
    }
