"""Landmarks on the aligned picture, where no detector gave any: those of the encoded face."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.morphable.base import FaceModel
from diffrig_emo.structures import FaceCodes
from diffrig_emo.transforms.projection import project


def landmarks_from_codes(codes: FaceCodes, face_model: FaceModel, crop_size: int = 224) -> Float[Tensor, "batch 68 2"]:
    """Project the 68 landmarks of encoded faces to the aligned picture, where the buffers show them.

    They are as good as the encoding: enough to align or to crop again, no truth to measure an encoder by. Follows
    `transforms.projection.crop_to_aligned`, habits included.

    Args:
        codes: the faces, with the camera and the `tform` of their crops.
        face_model: the model of their space.
        crop_size: side in pixels of the encoder's crop.

    Returns:
        Pixels of the aligned picture (of the crop itself where `codes.tform` is None), integers at pixel centres.

    Raises:
        StructError: when the codes belong to another space than the model.
    """
    screen = project(face_model(codes).landmarks2d, codes.cam)[..., :2]
    edges = (screen * 0.5 + 0.5) * crop_size
    if codes.tform is not None:
        inverse = torch.linalg.inv(codes.tform)
        edges = edges @ inverse[:, :2, :2].transpose(1, 2) + inverse[:, None, :2, 2]
    return edges - 0.5
