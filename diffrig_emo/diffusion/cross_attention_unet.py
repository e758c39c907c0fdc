"""A denoiser that reads its conditions by cross-attention: diffusers' UNet under the interface of this library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from diffrig_emo.structures import Conditioning
from diffrig_emo.utils.imports import require


class CrossAttentionUNet(nn.Module):
    """Residual blocks and transformers that attend to the tokens of `Conditioning` (Rombach et al. 2022, section 3.3).

    With the defaults it is the latent emotion model of Pikoulis et al. 2023: latents of 3 x 32 x 32, 156.76 million
    parameters.

    Args:
        image_size: side of what it denoises, pixels or latents.
        in_channels: channels of that.
        channels: width of each level, finest first; every further level halves the side.
        num_heads: heads of attention at each level.
        num_res_blocks: residual blocks per level, each with a transformer of one layer; one more on the way up.
        token_dim: length of a token.

    Raises:
        ImportError: when diffusers is missing, with the command that installs it.
        ValueError: when a number is not positive, there is not one number of heads for each level, or heads do not
            divide their level's width.

    Example:
        >>> import torch
        >>> unet = CrossAttentionUNet(image_size=8, channels=(8, 16), num_heads=(1, 2), num_res_blocks=1, token_dim=4)
        >>> x_t, t = torch.zeros(2, 3, 8, 8), torch.tensor([0, 999])
        >>> unet(x_t, t, Conditioning(tokens=torch.zeros(2, 1, 4))).shape
        torch.Size([2, 3, 8, 8])
    """

    def __init__(
        self,
        image_size: int = 32,
        in_channels: int = 3,
        channels: Sequence[int] = (160, 320, 640),
        num_heads: Sequence[int] = (5, 10, 20),
        num_res_blocks: int = 2,
        token_dim: int = 512,
    ) -> None:
        super().__init__()
        if len(num_heads) != len(channels):
            raise ValueError(
                f"num_heads: expected a number for each of the {len(channels)} levels, got {list(num_heads)}"
            )
        if min(*channels, *num_heads, num_res_blocks, token_dim, in_channels, image_size) < 1:
            raise ValueError("CrossAttentionUNet: expected positive numbers")
        for width, heads in zip(channels, num_heads, strict=True):
            if width % heads:
                raise ValueError(f"num_heads: {heads} heads do not divide a level of {width} channels")
        diffusers = require("diffusers", purpose="CrossAttentionUNet", install='pip install "diffrig_emo[latent]"')
        self.image_size = image_size
        self.token_dim = token_dim
        self.model: Any = diffusers.UNet2DConditionModel(
            sample_size=image_size,
            in_channels=in_channels,
            out_channels=in_channels,
            down_block_types=["CrossAttnDownBlock2D"] * len(channels),
            up_block_types=["CrossAttnUpBlock2D"] * len(channels),
            block_out_channels=list(channels),
            layers_per_block=num_res_blocks,
            cross_attention_dim=token_dim,
            attention_head_dim=list(num_heads),  # diffusers' name for the number of heads
            norm_num_groups=math.gcd(32, *channels),
        )

    def forward(
        self,
        x_t: Float[Tensor, "batch channels height width"],
        t: Int[Tensor, " batch"],
        conditioning: Conditioning,
    ) -> Float[Tensor, "batch channels height width"]:
        """Predict from noisy pictures or latents, of any scale that the noise schedule gives.

        Raises:
            ValueError: when there are no tokens of its length, or conditions that it cannot read.
        """
        tokens = conditioning.tokens
        if tokens is None or tokens.shape[-1] != self.token_dim:
            got = "none" if tokens is None else f"length {tokens.shape[-1]}"
            raise ValueError(
                f"CrossAttentionUNet: expected tokens of length {self.token_dim}, got {got}; give a conditioner "
                f"that makes them, such as EmotionLabelConditioner(dim={self.token_dim}, form='token')"
            )
        if conditioning.spatial is not None or conditioning.vectors:
            raise ValueError(
                "CrossAttentionUNet: it reads tokens alone, but there are spatial conditions or vectors, too; take "
                "their conditioners out, or take ConditionedUNet"
            )
        prediction: Tensor = self.model(x_t, t, encoder_hidden_states=tokens).sample
        return prediction
