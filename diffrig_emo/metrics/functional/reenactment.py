"""AED and APD: how near a reenacted face comes to the face that drives it."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures import FaceCodes, StructError

DISTANCES = {"aed": "exp", "ajd": "jaw_pose", "apd": "global_rotation"}
"""The distances, and the group of codes that each is of."""


def reenactment_distances(pred: FaceCodes, driving: FaceCodes) -> dict[str, Float[Tensor, " batch"]]:
    """Average expression, jaw and pose distance: mean absolute difference of the coefficients of each face.

    AED and APD are figures of the reenactment literature (Ren et al. 2021, "PIRenderer"), which reads both codes by
    one and the same 3DMM encoder. Papers differ in encoder, and in L1 or L2: here L1, averaged over the coefficients.
    FLAME keeps the mouth's opening in the jaw, hence a third one. The pose is the head's rotation alone, because the
    camera's shift depends on the crop.

    Args:
        pred: codes read off the results.
        driving: codes read off the driving pictures by the same encoder.

    Returns:
        `aed`, in units of the expression code, and `ajd` and `apd`, in radians of the axis-angle vectors; one number
        per face. `code_errors` gives the rotations as angles in degrees.

    Raises:
        StructError: when spaces, batch sizes or sizes of a group differ.

    Example:
        >>> driving = FaceCodes.zeros(1, n_shape=4, n_tex=3, n_exp=5, space="synthetic1")
        >>> distances = reenactment_distances(driving.replace(exp=driving.exp - 0.5), driving)
        >>> {name: value.item() for name, value in distances.items()}
        {'aed': 0.5, 'ajd': 0.0, 'apd': 0.0}
    """
    pred.require_space(driving.space)
    distances = {}
    for name, group in DISTANCES.items():
        ours, theirs = getattr(pred, group), getattr(driving, group)
        if ours.shape != theirs.shape:
            raise StructError(
                f"FaceCodes.{group}: expected equal shapes, got {tuple(ours.shape)} and {tuple(theirs.shape)}"
            )
        distances[name] = (ours - theirs).abs().mean(dim=1)
    return distances
