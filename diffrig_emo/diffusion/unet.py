"""The denoiser: a UNet conditioned by pictures, time and named vectors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from diffrig_emo.diffusion.blocks import (
    Block,
    ModulatedGroupNorm,
    Resampling,
    ResidualBlock,
    SelfAttention,
    TimeEmbedding,
    silu,
    zeroed,
)
from diffrig_emo.structures import Conditioning


@dataclasses.dataclass(frozen=True)
class VectorModulation:
    """A named vector that modulates every residual block of the UNet.

    Attributes:
        name: its key in `Conditioning.vectors`.
        dim: its length.
        shift: True scales and shifts the features (DiffusionRig), False scales them only (Diffusion Autoencoders).
        required: False lets a batch come without it; the blocks then skip its modulation.
        zero_init: True starts its layers at zero: until they have trained, the vector changes nothing.
    """

    name: str
    dim: int
    shift: bool = True
    required: bool = True
    zero_init: bool = False


class ConditionedUNet(nn.Module):
    """UNet of residual blocks modulated by time and then by each vector, in order; pictures join at the input.

    One class for DiffusionRig (9 buffer channels, one vector with shift), Diffusion Autoencoders (no buffers, one
    vector without shift) and what lies between. Layout and initialisation are those of Dhariwal and Nichol 2021 with
    residual up- and downsampling: the last convolution of every block, of every attention and of the head is zero at
    first, so an untrained UNet predicts zero.

    A picture may be of any size that can be halved `len(channel_mult) - 1` times after the stem, square or not.

    Args:
        in_channels: channels of x_t.
        out_channels: channels of the prediction.
        spatial_channels: channels of `Conditioning.spatial`, concatenated behind x_t.
        vectors: named vectors that modulate the blocks, applied in this order.
        image_size: side of the pictures in pixels; with it, `attention_resolutions` says where attention goes.
        base_channels: width of the first level, even.
        channel_mult: width of each level as a multiple of base_channels; each level halves the resolution.
        num_res_blocks: residual blocks of each level on the way down; the way up has one more.
        attention_resolutions: sides of the feature maps, in pixels, that get self-attention (16 means the level
            whose features are 16x16). The middle always has it.
        num_heads: attention heads.
        dropout: dropout before the last convolution of each block.
        patch_size: 1, or 2 or 4 to fold so many pixels a side into channels at the stem, and unfold at the head:
            4 or 16 times cheaper.
        time_embed_dim: width of the time embedding; None means 4 * base_channels.

    Raises:
        ValueError: when image_size cannot be halved that often, an attention resolution is no level's, the heads do
            not divide a level's width, vectors share a name, or a number is out of range.

    Example:
        >>> import torch
        >>> vectors = [VectorModulation("global", 8)]
        >>> unet = ConditionedUNet(
        ...     image_size=16, base_channels=16, channel_mult=(1, 2), spatial_channels=9, vectors=vectors
        ... )
        >>> conditioning = Conditioning(spatial=torch.zeros(2, 9, 16, 16), vectors={"global": torch.zeros(2, 8)})
        >>> unet(torch.randn(2, 3, 16, 16), torch.tensor([10, 900]), conditioning).shape
        torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        spatial_channels: int = 0,
        vectors: Sequence[VectorModulation] = (),
        image_size: int = 256,
        base_channels: int = 128,
        channel_mult: Sequence[float] = (1, 1, 2, 2, 4, 4),
        num_res_blocks: int = 2,
        attention_resolutions: Sequence[int] = (),
        num_heads: int = 1,
        dropout: float = 0.0,
        patch_size: int = 1,
        time_embed_dim: int | None = None,
    ) -> None:
        super().__init__()
        widths = [int(mult * base_channels) for mult in channel_mult]
        self.in_channels = in_channels
        self.spatial_channels = spatial_channels
        self.vectors = tuple(vectors)
        self.patch_size = patch_size
        self.image_size = image_size
        """Side in pixels of the pictures that it was built for."""
        self.divisor = patch_size * 2 ** (len(widths) - 1)
        """Height and width of every picture must be multiples of this."""
        self._check_settings(widths, image_size, base_channels, num_res_blocks, attention_resolutions, num_heads)
        _check_vectors(self.vectors)

        time_dim = time_embed_dim if time_embed_dim is not None else 4 * base_channels
        sizes = {vector.name: (vector.dim, vector.shift) for vector in self.vectors}

        def residual(inputs: int, outputs: int, resampling: Resampling = "none") -> ResidualBlock:
            return ResidualBlock(inputs, outputs, time_dim, sizes, dropout, resampling)

        def attention(level: int) -> SelfAttention | None:
            resolution = image_size // patch_size // 2**level
            return SelfAttention(widths[level], num_heads) if resolution in attention_resolutions else None

        self.time_embed = TimeEmbedding(base_channels, time_dim)
        self.stem = nn.Conv2d((in_channels + spatial_channels) * patch_size**2, widths[0], 3, padding=1)

        channels, skips = widths[0], [widths[0]]
        self.down_blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                self.down_blocks.append(Block(residual(channels, width), attention(level)))
                channels = width
                skips.append(channels)
            if level < len(widths) - 1:
                self.down_blocks.append(Block(residual(channels, channels, "down")))
                skips.append(channels)

        middle = Block(residual(channels, channels), SelfAttention(channels, num_heads))
        self.middle_blocks = nn.ModuleList([middle, Block(residual(channels, channels))])

        self.up_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for number in range(num_res_blocks + 1):
                ends_level = level > 0 and number == num_res_blocks
                upsample = residual(width, width, "up") if ends_level else None
                self.up_blocks.append(Block(residual(channels + skips.pop(), width), attention(level), upsample))
                channels = width

        self.head_norm = ModulatedGroupNorm(channels)
        self.head_conv = zeroed(nn.Conv2d(channels, out_channels * patch_size**2, 3, padding=1))

        for vector in self.vectors:
            if vector.zero_init:
                for block in self.residual_blocks():
                    zeroed(block.vectors[vector.name])

    def residual_blocks(self) -> list[ResidualBlock]:
        """All residual blocks, in the order of the forward pass."""
        return [module for module in self.modules() if isinstance(module, ResidualBlock)]

    def add_vector(self, vector: VectorModulation) -> None:
        """Give a trained UNet one more condition, applied after the others.

        With `zero_init` the UNet paints exactly as before until the new layers have trained. They are new parameters:
        add the vector before an optimizer is made.

        Raises:
            ValueError: when the name is taken or no identifier, or the size not positive.

        Example:
            >>> unet = ConditionedUNet(image_size=16, base_channels=16, channel_mult=(1, 2))
            >>> unet.add_vector(VectorModulation("expression", 8, zero_init=True))
            >>> [vector.name for vector in unet.vectors]
            ['expression']
        """
        vectors = (*self.vectors, vector)
        _check_vectors(vectors)
        self.vectors = vectors
        for block in self.residual_blocks():
            like = block.conv2.weight
            outputs = (2 if vector.shift else 1) * len(like)
            layer = nn.Linear(vector.dim, outputs, device=like.device, dtype=like.dtype)
            block.vectors[vector.name] = zeroed(layer) if vector.zero_init else layer

    def forward(
        self,
        x_t: Float[Tensor, "batch in_channels height width"],
        t: Int[Tensor, " batch"],
        conditioning: Conditioning | None = None,
    ) -> Float[Tensor, "batch out_channels height width"]:
        """Predict eps, v or x_0, whichever the training asked for.

        Args:
            x_t: noisy pictures, signal in [-1, 1].
            t: integer step of each sample (0 ... 999, not rescaled).
            conditioning: the spatial part and the vectors this UNet was built for; None where there are none.

        Raises:
            ValueError: when a condition is missing, unknown or mis-sized, or the picture cannot be halved; the
                message names it.
        """
        conditioning = conditioning if conditioning is not None else Conditioning()
        self._check_inputs(x_t, t, conditioning)
        spatial = conditioning.spatial
        x = x_t if spatial is None else torch.cat([x_t, spatial], dim=1)
        x = F.pixel_unshuffle(x, self.patch_size) if self.patch_size > 1 else x
        if x.device.type == "cpu" and not torch.is_grad_enabled():
            # Convolutions are faster so on CPUs; GroupNorm's backward, and all of it on CUDA, slower.
            x = x.contiguous(memory_format=torch.channels_last)
        time = F.silu(self.time_embed(t))
        vectors = {name: F.silu(vector) for name, vector in conditioning.vectors.items()}

        x = self.stem(x)
        skips = [x]
        for block in self.down_blocks:
            x = block(x, time, vectors)
            skips.append(x)
        for block in self.middle_blocks:
            x = block(x, time, vectors)
        for block in self.up_blocks:
            x = block(torch.cat([x, skips.pop()], dim=1), time, vectors)
        x = self.head_conv(silu(self.head_norm(x)))
        x = F.pixel_shuffle(x, self.patch_size) if self.patch_size > 1 else x
        return x.contiguous()

    def _check_settings(
        self,
        widths: list[int],
        image_size: int,
        base_channels: int,
        num_res_blocks: int,
        attention_resolutions: Sequence[int],
        num_heads: int,
    ) -> None:
        if not widths or min(widths) < 1 or base_channels % 2 or num_res_blocks < 1:
            raise ValueError(
                "expected an even base_channels, positive channel_mult and num_res_blocks of 1 or more, got "
                f"base_channels={base_channels}, widths={widths}, num_res_blocks={num_res_blocks}"
            )
        if self.patch_size not in (1, 2, 4):
            raise ValueError(f"patch_size must be 1, 2 or 4, got {self.patch_size}")
        if image_size < 1 or image_size % self.divisor:
            raise ValueError(
                f"image_size {image_size} cannot be halved {len(widths) - 1} times after a stem of patch_size "
                f"{self.patch_size}: use a multiple of {self.divisor}, or a shorter channel_mult"
            )
        resolutions = [image_size // self.patch_size // 2**level for level in range(len(widths))]
        unknown = sorted(set(attention_resolutions) - set(resolutions))
        if unknown:
            raise ValueError(f"attention_resolutions {unknown}: no level is of that size, the levels are {resolutions}")
        attended = [w for w, r in zip(widths, resolutions, strict=True) if r in attention_resolutions] + widths[-1:]
        if num_heads < 1 or any(width % num_heads for width in attended):
            raise ValueError(f"num_heads {num_heads} must divide the widths of the levels with attention, {attended}")

    def _check_inputs(self, x_t: Tensor, t: Tensor, conditioning: Conditioning) -> None:
        if x_t.ndim != 4 or x_t.shape[1] != self.in_channels:
            raise ValueError(f"x_t must be (batch, {self.in_channels}, height, width), got {tuple(x_t.shape)}")
        batch, _, height, width = x_t.shape
        if height % self.divisor or width % self.divisor or not height * width:
            raise ValueError(
                f"x_t of {height}x{width} pixels cannot be halved as often as this UNet does: "
                f"height and width must be multiples of {self.divisor}"
            )
        if t.shape != (batch,) or t.is_floating_point():
            raise ValueError(f"t must hold {batch} integer steps, got {t.dtype} {tuple(t.shape)}")
        wanted = (batch, self.spatial_channels, height, width)
        spatial = conditioning.spatial
        if spatial is None and self.spatial_channels:
            raise ValueError(f"conditioning.spatial is missing; this UNet needs {wanted}")
        if spatial is not None and spatial.shape != wanted:
            raise ValueError(f"conditioning.spatial must be {wanted}, got {tuple(spatial.shape)}")
        if conditioning.tokens is not None:
            raise ValueError("conditioning.tokens: this UNet has no cross-attention")
        known = {vector.name: vector for vector in self.vectors}
        missing = [name for name, vector in known.items() if vector.required and name not in conditioning.vectors]
        unknown = [name for name in conditioning.vectors if name not in known]
        if missing or unknown:
            raise ValueError(
                f"conditioning.vectors: missing {missing}, unknown {unknown}; this UNet was built for {list(known)}"
            )
        for name, vector in conditioning.vectors.items():
            if vector.shape != (batch, known[name].dim):
                raise ValueError(
                    f"conditioning.vectors[{name!r}] must be ({batch}, {known[name].dim}), got {tuple(vector.shape)}"
                )


def _check_vectors(vectors: Sequence[VectorModulation]) -> None:
    names = [vector.name for vector in vectors]
    if len(set(names)) < len(names):
        raise ValueError(f"vectors must have different names, got {names}")
    for vector in vectors:
        if not vector.name.isidentifier() or hasattr(nn.ModuleDict, vector.name):
            raise ValueError(f"vectors: {vector.name!r} cannot name a layer; use another identifier")
        if vector.dim < 1:
            raise ValueError(f"vectors: {vector.name!r} needs a positive dim, got {vector.dim}")
