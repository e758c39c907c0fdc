"""Photographs to codes again: what an encoder reads off a picture that a rig has painted."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torchvision.transforms.functional import resize

from diffrig_emo.morphable.base import MorphableEncoder
from diffrig_emo.structures import FaceCodes, FaceCrop
from diffrig_emo.transforms.crop import crop_face


def reencode(
    encoder: MorphableEncoder,
    image: Float[Tensor, "batch 3 height width"],
    tform: Float[Tensor, "batch 3 3"] | None = None,
) -> FaceCodes:
    """Read codes off aligned pictures; gradients flow to the pictures.

    Args:
        encoder: photo to codes.
        image: RGB in [0, 1].
        tform: aligned pixels to crop pixels, as the pictures' own codes have it (`FaceCodes.tform`); None takes the
            picture whole, at the encoder's size.
    """
    size = encoder.image_size
    if tform is None:
        crop = FaceCrop(image=resize(image, [size, size], antialias=True))
    else:
        crop = FaceCrop(image=crop_face(image, tform, size), tform=tform)
    codes: FaceCodes = encoder(crop)
    return codes
