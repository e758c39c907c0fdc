"""The network of the vector-quantised autoencoder: diffusers' VQModel under the interface of this library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from diffrig_emo.diffusion.autoencoder import Autoencoder
from diffrig_emo.utils.imports import require

_COMMITMENT = 0.25


class Quantised(NamedTuple):
    """Latents as the codebook has them."""

    z: Float[Tensor, "batch code_dim h w"]
    """The nearest entries; gradients pass straight through to the latents."""
    loss: Float[Tensor, ""]
    """`|sg(z) - e|^2 + 0.25 |z - sg(e)|^2`, means over everything (van den Oord et al. 2017, eq. 3)."""
    entry: Int[Tensor, " places"]
    """Number of the entry at each place, batch first, then rows."""


class VQNetwork(Autoencoder):
    """Encoder, codebook and decoder of a VQGAN (Esser et al. 2021), without its losses: see `VQAutoencoder`.

    As in latent diffusion, `encode` gives latents before the codebook, and `decode` looks them up in it first: what
    diffusion leaves unclean, the codebook straightens. With the defaults it is the first stage of Pikoulis et al. 2023:
    pictures of 128 pixels to 3 x 32 x 32 and 60.61 million parameters.

    Args:
        channels: width of each level, finest first; every further level halves the picture.
        num_res_blocks: residual blocks per level, and one more on the way up.
        attention: whether the coarsest level attends in each of its blocks, besides the attention in the middle.
        num_codes: entries of the codebook.
        code_dim: numbers of an entry, and channels of a latent.

    Raises:
        ImportError: when diffusers is missing, with the command that installs it.
        ValueError: when a number is not positive.

    Example:
        >>> network = VQNetwork(channels=(8, 16), num_res_blocks=1, num_codes=32)
        >>> z = network.encode(torch.zeros(2, 3, 16, 16))
        >>> tuple(z.shape), tuple(network.decode(z).shape)
        ((2, 3, 8, 8), (2, 3, 16, 16))
    """

    def __init__(
        self,
        channels: Sequence[int] = (128, 256, 512),
        num_res_blocks: int = 2,
        attention: bool = True,
        num_codes: int = 16384,
        code_dim: int = 3,
    ) -> None:
        super().__init__()
        numbers = {"num_res_blocks": num_res_blocks, "num_codes": num_codes, "code_dim": code_dim}
        if not channels or min(channels) < 1 or min(numbers.values()) < 1:
            raise ValueError(f"VQNetwork: expected positive numbers, got channels={list(channels)}, {numbers}")
        diffusers = require("diffusers", purpose="VQNetwork", install='pip install "diffrig_emo[latent]"')
        finer = len(channels) - 1
        self.model: Any = diffusers.VQModel(
            in_channels=3,
            out_channels=3,
            down_block_types=["DownEncoderBlock2D"] * finer + [_coarsest("DownEncoderBlock2D", attention)],
            up_block_types=[_coarsest("UpDecoderBlock2D", attention)] + ["UpDecoderBlock2D"] * finer,
            block_out_channels=list(channels),
            layers_per_block=num_res_blocks,
            latent_channels=code_dim,
            num_vq_embeddings=num_codes,
            vq_embed_dim=code_dim,
            norm_num_groups=math.gcd(32, *channels),
        )
        self.model.quantize.beta = _COMMITMENT
        self.num_codes = num_codes
        self.latent_channels = code_dim
        self.factor = 2**finer

    @property
    def codebook(self) -> Float[Tensor, "num_codes code_dim"]:
        """The entries."""
        weight: Tensor = self.model.quantize.embedding.weight
        return weight

    @property
    def spread(self) -> Float[Tensor, ""]:
        """Standard deviation of the entries' numbers."""
        return self.codebook.detach().std(correction=0)

    @property
    def last_weight(self) -> nn.Parameter:
        """Weights of the layer that gives the pictures, where losses on them are weighed against each other."""
        weight: nn.Parameter = self.model.decoder.conv_out.weight
        return weight

    def encode(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch code_dim h w"]:
        """Latents of pictures in [-1, 1], before the codebook.

        Raises:
            ValueError: when height or width is no multiple of `factor`.
        """
        if x.shape[-2] % self.factor or x.shape[-1] % self.factor:
            raise ValueError(
                f"x: expected sides that are multiples of {self.factor}, got {tuple(x.shape[-2:])}; resize the pictures"
            )
        z: Tensor = self.model.encode(x).latents
        return z

    def quantise(self, z: Float[Tensor, "batch code_dim h w"]) -> Quantised:
        """Put the nearest entry of the codebook in the place of each latent vector."""
        nearest, loss, (_, _, index) = self.model.quantize(z.to(self.codebook.dtype))
        return Quantised(nearest, loss, index.flatten())

    def paint(self, z: Float[Tensor, "batch code_dim h w"]) -> Float[Tensor, "batch 3 height width"]:
        """Pictures of latents that are of the codebook already."""
        x: Tensor = self.model.decode(z, force_not_quantize=True).sample
        return x

    def decode(self, z: Float[Tensor, "batch code_dim h w"]) -> Float[Tensor, "batch 3 height width"]:
        """Pictures of any latents, by way of the codebook; around [-1, 1], not clamped."""
        return self.paint(self.quantise(z).z)

    @torch.no_grad()
    def replace_codes(self, dead: Tensor, z: Float[Tensor, "batch code_dim h w"]) -> None:
        """Put latents drawn from a batch in the place of entries that nothing is near to.

        Args:
            dead: which entries, bool (num_codes,).
            z: latents of the batch.
        """
        vectors = z.detach().permute(0, 2, 3, 1).flatten(0, 2)
        drawn = torch.randint(len(vectors), (int(dead.sum()),), device=z.device)
        self.codebook[dead] = vectors[drawn].to(self.codebook.dtype)


def _coarsest(block: str, attention: bool) -> str:
    return f"Attn{block}" if attention else block
