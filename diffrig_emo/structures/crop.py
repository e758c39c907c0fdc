"""The three pictures of one face."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from jaxtyping import Float, Shaped
from torch import Tensor

from diffrig_emo.structures.base import TensorStruct


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FaceCrop(TensorStruct):
    """A face on its way from the photo to the networks: photo, aligned picture, encoder's crop.

    Pixel coordinates put integers at pixel centres.
    """

    image: Float[Tensor, "batch 3 crop_height crop_width"]
    """What the encoder sees (224 x 224 for DECA), RGB in [0, 1]."""
    aligned: Float[Tensor, "batch 3 height width"] | None = None
    """What diffusion and buffers see, RGB in [0, 1]."""
    landmarks: Float[Tensor, "batch 68 2"] | None = None
    """Landmarks that were found in the photo, aligned pixels; NaN unknown. None: nobody looked for any."""
    photo_to_aligned: Float[Tensor, "batch 3 3"] | None = None
    """Similarity, photo pixels to aligned pixels."""
    tform: Float[Tensor, "batch 3 3"] | None = None
    """Similarity, aligned pixels to crop pixels; becomes `FaceCodes.tform`. None: they coincide."""
    quality: Mapping[str, Shaped[Tensor, " batch"]] = dataclasses.field(default_factory=dict)
    """Named quality figures, such as the detector's score."""
    photo: tuple[Tensor, ...] | None = None
    """The photographs themselves, (3, H, W) each, any size, RGB in [0, 1]; not split by indexing."""
