"""The blocks of the UNet: normalisation with modulation, residual block, self-attention, time embedding.

Modulation never costs a pass over the feature maps. GroupNorm ends with a per-channel affine map
`gamma * h + beta`, and modulating that by `scale` and `shift` gives another affine map,

    scale * (gamma * h + beta) + shift = (scale * gamma) * h + (scale * beta + shift),

so every modulation of a block is folded into the affine weights before the one normalisation kernel runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

Resampling = Literal["none", "down", "up"]
Module = TypeVar("Module", bound=nn.Module)


def group_count(channels: int) -> int:
    """Number of GroupNorm groups: min(32, channels), or the nearest that divides the channels.

    Example:
        >>> group_count(16), group_count(128), group_count(80)
        (16, 32, 16)
    """
    wanted = min(32, channels)
    return wanted if channels % wanted == 0 else math.gcd(32, channels)


def silu(x: Tensor) -> Tensor:
    """SiLU of a fresh tensor, in place where no gradient needs it (large allocations are slow on CPUs)."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def zeroed(module: Module) -> Module:
    """Set all parameters of a fresh layer to zero, so that the block around it starts as its skip connection."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ModulatedGroupNorm(nn.GroupNorm):
    """GroupNorm computed in float32 at least, with a scale and shift per sample folded into its affine map."""

    def __init__(self, channels: int) -> None:
        super().__init__(group_count(channels), channels, eps=1e-5)

    def forward(
        self,
        input: Float[Tensor, "batch channels height width"],
        modulation: tuple[Float[Tensor, "batch channels"], Float[Tensor, "batch channels"]] | None = None,
    ) -> Float[Tensor, "batch channels height width"]:
        """Normalise, then multiply by the modulation's scale and add its shift."""
        dtype = torch.promote_types(input.dtype, torch.float32)
        x, weight, bias = input.to(dtype), self.weight.to(dtype), self.bias.to(dtype)
        batch, groups = input.shape[0], self.num_groups
        if modulation is None:
            return F.group_norm(x, groups, weight, bias, self.eps).to(input.dtype)
        scale, shift = (m.to(dtype) for m in modulation)
        weight, bias = scale * weight, torch.addcmul(shift, scale, bias)
        if batch > 1 and not x.is_contiguous():
            # Channels-last samples cannot be merged without a copy; one more pass is cheaper.
            h = F.group_norm(x, groups, None, None, self.eps)
            out = None if torch.is_grad_enabled() else h
            return torch.addcmul(bias[..., None, None], h, weight[..., None, None], out=out).to(input.dtype)
        if batch > 1:
            # Samples become channels: statistics stay those of each sample, and the affine map becomes its own.
            x = x.reshape(1, -1, *x.shape[2:])
        h = F.group_norm(x, batch * groups, weight.flatten(), bias.flatten(), self.eps)
        # Not even a view of one channels-last picture: its strides would no longer be recognised.
        return (h.view(input.shape) if batch > 1 else h).to(input.dtype)


class TimeEmbedding(nn.Module):
    """Sinusoid of the integer time step, cosines first, through two linear layers."""

    def __init__(self, sinusoid_dim: int, embed_dim: int) -> None:
        super().__init__()
        self.sinusoid_dim = sinusoid_dim
        self.linear1 = nn.Linear(sinusoid_dim, embed_dim)
        self.linear2 = nn.Linear(embed_dim, embed_dim)

    def forward(self, t: Int[Tensor, " batch"]) -> Float[Tensor, "batch embed_dim"]:
        """Embed steps (0 ... 999, not rescaled): frequencies `10000^(-i / half)`, i = 0 ... half - 1."""
        half = self.sinusoid_dim // 2
        frequencies = torch.exp(-math.log(10000.0) / half * torch.arange(half, dtype=torch.float32, device=t.device))
        angles = t[:, None].float() * frequencies
        sinusoid = torch.cat([angles.cos(), angles.sin()], dim=1)
        embedding: Tensor = self.linear2(F.silu(self.linear1(sinusoid.to(self.linear1.weight.dtype))))
        return embedding


class ResidualBlock(nn.Module):
    """`skip(x) + conv(SiLU(modulate(norm(conv(resample(SiLU(norm(x)))))))`, modulated by time, then by each vector."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        time_dim: int,
        vectors: Mapping[str, tuple[int, bool]],
        dropout: float = 0.0,
        resampling: Resampling = "none",
    ) -> None:
        super().__init__()
        self.resampling = resampling
        self.norm1 = ModulatedGroupNorm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_dim, 2 * out_channels)
        self.vectors = nn.ModuleDict(
            {name: nn.Linear(dim, (2 if shift else 1) * out_channels) for name, (dim, shift) in vectors.items()}
        )
        self.norm2 = ModulatedGroupNorm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(
        self,
        x: Float[Tensor, "batch channels height width"],
        time: Float[Tensor, "batch time_dim"],
        vectors: Mapping[str, Float[Tensor, "batch _"]],
    ) -> Float[Tensor, "batch out_channels out_height out_width"]:
        """Run the block; `time` and `vectors` come already activated (SiLU)."""
        h: Tensor = silu(self.norm1(x))
        h = self.conv1(resample(h, self.resampling))
        h = silu(self.norm2(h, self.modulation(time, vectors)))
        h = self.conv2(self.dropout(h))
        h += self.skip(resample(x, self.resampling))
        return h

    def modulation(self, time: Tensor, vectors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Compose `h (1 + s) + b` by time and then by each vector into one scale and one shift."""
        scale, shift = self.time(time).chunk(2, dim=1)
        scale = 1 + scale
        for name, layer in self.vectors.items():
            if name in vectors:
                s, *b = layer(vectors[name]).split(scale.shape[1], dim=1)
                scale, shift = scale * (1 + s), shift * (1 + s)
                shift = shift + b[0] if b else shift
        return scale, shift


def resample(x: Tensor, resampling: Resampling) -> Tensor:
    """Halve by averaging 2x2 pixels, double by repeating them, or pass."""
    if resampling == "down":
        return F.avg_pool2d(x, 2)
    if resampling == "up":
        return F.interpolate(x, scale_factor=2, mode="nearest")
    return x


class SelfAttention(nn.Module):
    """Residual multi-head self-attention over all pixels, by PyTorch's fused kernel."""

    def __init__(self, channels: int, num_heads: int = 1) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm = ModulatedGroupNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """Add what every pixel gathers from the others. Heads are split before q, k and v."""
        height, width = x.shape[2:]
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).unflatten(2, (self.num_heads, 3, -1)).transpose(1, 2).unbind(3)
        gathered = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        added: Tensor = self.proj(gathered).transpose(1, 2).unflatten(2, (height, width))
        return x + added


class Block(nn.Module):
    """One step of the UNet: a residual block, attention where the resolution asks for it, perhaps upsampling."""

    def __init__(
        self, residual: ResidualBlock, attention: SelfAttention | None = None, upsample: ResidualBlock | None = None
    ) -> None:
        super().__init__()
        self.residual = residual
        self.attention = attention
        self.upsample = upsample

    def forward(self, x: Tensor, time: Tensor, vectors: Mapping[str, Tensor]) -> Tensor:
        """Run the parts in order."""
        x = self.residual(x, time, vectors)
        if self.attention is not None:
            x = self.attention(x)
        return x if self.upsample is None else self.upsample(x, time, vectors)
