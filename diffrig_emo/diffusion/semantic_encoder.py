"""The semantic encoder of Diffusion Autoencoders: half a UNet, from a photograph to one vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from diffrig_emo.diffusion.blocks import ModulatedGroupNorm, Resampling, SelfAttention, resample, silu


class SemanticEncoder(nn.Module):
    """The way down of a UNet without time, then the mean over all pixels: z_sem, an unconstrained code.

    Preechakul et al., "Diffusion Autoencoders", 2022. Trained from scratch together with the denoiser, through the
    denoising loss alone. Beside the UNet's own blocks these have one convolution only, no dropout and no zero start;
    every width is the UNet's, with one more level.

    Args:
        image_size: side in pixels of the pictures it encodes.
        base_channels: width of the first level.
        channel_mult: width of each level as a multiple of base_channels; each level halves the resolution.
        num_res_blocks: residual blocks of each level.
        attention_resolutions: sides of the feature maps, in pixels, that get self-attention. The middle always has it.
        dim: size of the code.
        num_heads: attention heads.
        code_gain: factor of the last layer's weights at the start of training. At 1, as published, the codes of
            different faces hardly differ at first, and a small network on few pictures paints without them for long.

    Raises:
        ValueError: when image_size cannot be halved that often, an attention resolution is no level's, or a number is
            not positive.

    Example:
        >>> import torch
        >>> encoder = SemanticEncoder(image_size=32, base_channels=16, channel_mult=(1, 2, 2), dim=24)
        >>> encoder(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 24])
    """

    def __init__(
        self,
        image_size: int = 256,
        base_channels: int = 128,
        channel_mult: Sequence[float] = (1, 1, 2, 2, 4, 4, 4),
        num_res_blocks: int = 2,
        attention_resolutions: Sequence[int] = (16,),
        dim: int = 512,
        num_heads: int = 1,
        code_gain: float = 1.0,
    ) -> None:
        super().__init__()
        widths = [int(mult * base_channels) for mult in channel_mult]
        if not widths or min(*widths, num_res_blocks, dim, num_heads) < 1:
            raise ValueError(
                "SemanticEncoder: expected positive widths, num_res_blocks, dim and num_heads, got "
                f"widths={widths}, num_res_blocks={num_res_blocks}, dim={dim}, num_heads={num_heads}"
            )
        resolutions = [image_size // 2**level for level in range(len(widths))]
        if image_size < 1 or image_size % 2 ** (len(widths) - 1):
            raise ValueError(
                f"SemanticEncoder: image_size {image_size} cannot be halved {len(widths) - 1} times: use a multiple of "
                f"{2 ** (len(widths) - 1)}, or a shorter channel_mult"
            )
        if unknown := sorted(set(attention_resolutions) - set(resolutions)):
            raise ValueError(
                f"SemanticEncoder: attention_resolutions {unknown}: no level is of that size, they are {resolutions}"
            )
        self.image_size = image_size
        self.dim = dim

        channels = widths[0]
        self.stem = nn.Conv2d(3, channels, 3, padding=1)
        self.down_blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                attention = SelfAttention(width, num_heads) if resolutions[level] in attention_resolutions else None
                self.down_blocks.append(EncoderBlock(channels, width, attention))
                channels = width
            if level < len(widths) - 1:
                self.down_blocks.append(EncoderBlock(channels, channels, resampling="down"))
        first = EncoderBlock(channels, channels, SelfAttention(channels, num_heads))
        self.middle_blocks = nn.ModuleList([first, EncoderBlock(channels, channels)])
        self.head_norm = ModulatedGroupNorm(channels)
        self.head_linear = nn.Linear(channels, dim)
        with torch.no_grad():
            self.head_linear.weight *= code_gain

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Encode clean RGB pictures in [-1, 1], of the size this encoder was built for.

        Raises:
            ValueError: when they are of another size.
        """
        wanted = (3, self.image_size, self.image_size)
        if image.shape[1:] != wanted:
            raise ValueError(
                f"SemanticEncoder: built for pictures of (batch, {', '.join(map(str, wanted))}), got "
                f"{tuple(image.shape)}; resize them, or build it with their image_size"
            )
        x = self.stem(image)
        for block in (*self.down_blocks, *self.middle_blocks):
            x = block(x)
        code: Tensor = self.head_linear(silu(self.head_norm(x)).mean(dim=(2, 3)))
        return code


class EncoderBlock(nn.Module):
    """`skip(resample(x)) + conv(resample(SiLU(norm(x))))`, then attention where the resolution asks for it."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        attention: SelfAttention | None = None,
        resampling: Resampling = "none",
    ) -> None:
        super().__init__()
        self.residual = _Convolution(in_channels, out_channels, resampling)
        self.attention = attention

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Tensor:
        """Run the parts in order."""
        h: Tensor = self.residual(x)
        if self.attention is not None:
            h = self.attention(h)
        return h


class _Convolution(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, resampling: Resampling) -> None:
        super().__init__()
        self.resampling = resampling
        self.norm1 = ModulatedGroupNorm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.conv1(resample(F.silu(self.norm1(x)), self.resampling))
        h += self.skip(resample(x, self.resampling))
        return h
