"""Keep an edited face in its place: turning a head about its neck would carry the face away."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.morphable.base import FaceModel
from diffrig_emo.structures import FaceCodes, StructError


def face_center(landmarks: Float[Tensor, "batch 68 3"]) -> Float[Tensor, "batch 3"]:
    """Centre of a face as FFHQ's alignment has it: a tenth of the way from between the eyes to the mouth.

    Args:
        landmarks: the 68 points (`FaceMesh.landmarks2d`), any frame.

    Returns:
        `e + 0.1 (m - e)`: e is the mean of the two eyes' centres (points 36..41 and 42..47), m the mean of
        the mouth's corners (48 and 54).

    Example:
        >>> points = torch.zeros(1, 68, 3)
        >>> points[:, 48:, 1] = -1.0
        >>> face_center(points).tolist()
        [[0.0, -0.1..., 0.0]]
    """
    eyes = (landmarks[:, 36:42].mean(dim=1) + landmarks[:, 42:48].mean(dim=1)) / 2
    mouth = (landmarks[:, 48] + landmarks[:, 54]) / 2
    return torch.lerp(eyes, mouth, 0.1)


def recenter(edited: FaceCodes, source: FaceCodes, face_model: FaceModel) -> FaceCodes:
    """Move edited faces to where the source's faces are (DiffusionRig's inference, for any batch size).

    The published edits take `source` as the encoder gave it, before an album's mean shape replaces its own.

    Args:
        edited: codes after the edit; a translation they may have is replaced.
        source: codes before it, in the same order.
        face_model: the model of their space.

    Returns:
        The edited codes with the `translation`, world metres, that brings the two face centres together.

    Raises:
        StructError: when the codes belong to another space than the model, or batch sizes differ.
    """
    if edited.batch_size != source.batch_size:
        raise StructError(
            "FaceCodes: expected two batches of one size, got "
            f"{edited.batch_size} edited and {source.batch_size} source"
        )
    wanted = face_center(face_model(source).landmarks2d)
    found = face_center(face_model(edited.replace(translation=None)).landmarks2d)
    return edited.replace(translation=wanted - found)
