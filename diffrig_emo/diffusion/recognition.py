"""What a UNet of guided diffusion's names looks like, from the shapes of its tensors alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


class UnrecognisedError(ValueError):
    """A component whose architecture cannot be told from its shapes."""


@dataclasses.dataclass(frozen=True)
class RecognisedUNet:
    """A UNet's architecture, but for what shapes do not show: heads, dropout, the size of its pictures."""

    stem_inputs: int
    outputs: int
    base_channels: int
    widths: list[int]
    """Channels of each level, finest first."""
    num_res_blocks: int
    attended_levels: list[int]
    time_embed_dim: int
    vector_dim: int
    vector_shift: bool

    def settings(self, image_size: int) -> dict[str, Any]:
        """Arguments of `ConditionedUNet` for pictures of this size, but for channels and vectors."""
        base = self.base_channels
        return {
            "image_size": image_size,
            "base_channels": base,
            "channel_mult": channel_mult(self.widths, base),
            "num_res_blocks": self.num_res_blocks,
            "attention_resolutions": [image_size >> level for level in self.attended_levels],
            "time_embed_dim": self.time_embed_dim,
        }


def recognise_unet(shapes: Mapping[str, tuple[int, ...]], prefix: str = "") -> RecognisedUNet:
    """Read the architecture from guided diffusion's names and their shapes.

    Args:
        shapes: shape of each tensor.
        prefix: what all names of the UNet begin with; other names are passed over.

    Raises:
        UnrecognisedError: when a name is missing, or shapes contradict each other.
    """
    shapes = {n.removeprefix(prefix): shape for n, shape in shapes.items() if n.startswith(prefix)}
    try:
        time_embed_dim, base = shapes["time_embed.0.weight"]
        stem_inputs = shapes["input_blocks.0.0.weight"][1]
        outputs = shapes["out.2.weight"][0]
        # Parts 1 and 2 of a block are attention, if its level has any, and upsampling, if it ends its level.
        parts = {tuple(map(int, n.split(".")[1:3])) for n in shapes if n.startswith("output_blocks.")}
        attended = {block for block, part in parts if f"output_blocks.{block}.{part}.qkv.weight" in shapes}
        upsampled = {b for b, part in parts if part and f"output_blocks.{b}.{part}.in_layers.0.weight" in shapes}
        levels, blocks = len(upsampled) + 1, max(block for block, _ in parts) + 1
        per_level = blocks // levels  # one more than on the way down
        widths = [
            shapes[f"output_blocks.{level * per_level}.0.out_layers.3.weight"][0] for level in reversed(range(levels))
        ]
        modulation, dim = shapes["input_blocks.1.0.cond_emb_layers.1.weight"]
        shift = modulation == shapes["input_blocks.1.0.emb_layers.1.weight"][0]
    except KeyError as error:
        raise UnrecognisedError(f"UNet: {prefix}{error.args[0]} is missing") from error
    except ValueError as error:
        raise UnrecognisedError(f"UNet: its names or shapes are not the original's ({error})") from error
    return RecognisedUNet(
        stem_inputs=stem_inputs,
        outputs=outputs,
        base_channels=base,
        widths=widths,
        num_res_blocks=per_level - 1,
        attended_levels=sorted({levels - 1 - block // per_level for block in attended}),
        time_embed_dim=time_embed_dim,
        vector_dim=dim,
        vector_shift=shift,
    )


def channel_mult(widths: list[int], base: int) -> list[float]:
    """Multiples that give these widths again as `int(mult * base)`.

    Example:
        >>> channel_mult([64, 128, 160], 64)
        [1, 2, 2.50390625]
    """
    # A quarter of a channel keeps the quotient from ending just below.
    return [w // base if w % base == 0 else (w + 0.25) / base for w in widths]
