"""What a denoiser is conditioned on, whatever system it belongs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures.base import StructError, TensorStruct


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Conditioning(TensorStruct):
    """Conditions of a batch: pictures, named vectors, tokens; each may be absent.

    Example:
        >>> import torch
        >>> a = Conditioning(spatial=torch.zeros(2, 9, 8, 8))
        >>> b = Conditioning(vectors={"global": torch.zeros(2, 64)})
        >>> both = Conditioning.merge([a, b])
        >>> both.spatial.shape[1], list(both.vectors)
        (9, ['global'])
    """

    spatial: Float[Tensor, "batch channels height width"] | None = None
    """Pictures of the output's size, concatenated to x_t (physical buffers, for instance)."""
    vectors: Mapping[str, Float[Tensor, "batch _"]] = dataclasses.field(default_factory=dict)
    """Named codes, each modulating the denoiser's residual blocks."""
    tokens: Float[Tensor, "batch n_tokens n_features"] | None = None
    """Sequence for cross-attention."""

    @classmethod
    def merge(cls, parts: Sequence[Conditioning]) -> Conditioning:
        """Join the outputs of several conditioners.

        Spatial parts are stacked along channels and tokens along the sequence, in the given order.

        Raises:
            StructError: when two parts bring a vector of the same name.
        """
        spatial = [p.spatial for p in parts if p.spatial is not None]
        tokens = [p.tokens for p in parts if p.tokens is not None]
        vectors: dict[str, Tensor] = {}
        for part in parts:
            for name, vector in part.vectors.items():
                if name in vectors:
                    raise StructError(f"Conditioning.vectors[{name!r}] comes from two conditioners; rename one")
                vectors[name] = vector
        return cls(
            spatial=torch.cat(spatial, dim=1) if spatial else None,
            vectors=vectors,
            tokens=torch.cat(tokens, dim=1) if tokens else None,
        )
