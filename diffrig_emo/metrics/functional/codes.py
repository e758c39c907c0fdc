"""Errors between the codes of two faces, one figure per group of codes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures import FaceCodes, StructError
from diffrig_emo.transforms.rotations import to_quaternion

GROUPS = ("shape", "tex", "exp", "global_rotation", "jaw_pose", "cam", "light")
"""The groups, in the order in which the sums and counts are kept."""

_ROTATIONS = ("global_rotation", "jaw_pose")


def code_errors(pred: FaceCodes, target: FaceCodes) -> dict[str, Float[Tensor, ""]]:
    """Error of every group of codes over a batch of faces.

    `shape`, `tex`, `exp`, `cam` and `light` are root mean squares over the batch and the group's numbers, in the
    codes' own units (the re-inference error of GIF and DiffusionRig); `global_rotation` and `jaw_pose` are the
    mean geodesic angle in degrees.

    Args:
        pred: codes of the pictures under test.
        target: codes they should have; same space, same batch size.

    Returns:
        One scalar per name in `GROUPS`.

    Raises:
        StructError: when spaces, batch sizes or sizes of a group differ.

    Example:
        >>> target = FaceCodes.zeros(2, n_shape=4, n_tex=3, n_exp=5, space="synthetic1")
        >>> pred = target.replace(shape=target.shape + 0.5)
        >>> errors = code_errors(pred, target)
        >>> round(float(errors["shape"]), 4), float(errors["exp"])
        (0.5, 0.0)
    """
    return _code_errors_compute(*_code_errors_update(pred, target))


def reinference_errors(
    pred: FaceCodes, target: FaceCodes, floor_pred: FaceCodes, floor_target: FaceCodes
) -> dict[str, Float[Tensor, ""]]:
    """Errors of codes read off results again, beside the floor: what the encoder errs where no generator could.

    An encoder does not read a code back exactly even off a perfect picture. Only what an error has above its floor is
    the generator's.

    Args:
        pred: codes that an encoder reads off the results.
        target: codes they should have.
        floor_pred: codes that the same encoder reads off pictures that need no generator: true edits, or, where there
            are none, the untouched sources.
        floor_target: codes that those have: `target` for true edits, the sources' own codes for sources.

    Returns:
        For every name in `GROUPS` the error, as `code_errors` gives it, and under the name with `_floor` its floor.

    Raises:
        StructError: when spaces, batch sizes or sizes of a group differ.

    Example:
        >>> target = FaceCodes.zeros(2, n_shape=4, n_tex=3, n_exp=5, space="synthetic1")
        >>> errors = reinference_errors(target.replace(exp=target.exp + 3), target, target, target)
        >>> errors["exp"].item(), errors["exp_floor"].item()
        (3.0, 0.0)
    """
    floor = code_errors(floor_pred, floor_target)
    return code_errors(pred, target) | {f"{group}_floor": error for group, error in floor.items()}


def _code_errors_update(pred: FaceCodes, target: FaceCodes) -> tuple[Tensor, Tensor]:
    """Sums (squares, or degrees) and counts, each (len(GROUPS),)."""
    pred.require_space(target.space)
    totals, counts = [], []
    for group in GROUPS:
        ours, theirs = getattr(pred, group), getattr(target, group)
        if ours.shape != theirs.shape:
            raise StructError(
                f"FaceCodes.{group}: expected equal shapes, got {tuple(ours.shape)} and {tuple(theirs.shape)}"
            )
        terms = geodesic_degrees(ours, theirs) if group in _ROTATIONS else (ours - theirs).square()
        totals.append(terms.sum())
        counts.append(terms.numel())
    return torch.stack(totals), totals[0].new_tensor(counts)


def _code_errors_compute(totals: Tensor, counts: Tensor) -> dict[str, Tensor]:
    means = (totals / counts).unbind()
    return {g: m if g in _ROTATIONS else m.sqrt() for g, m in zip(GROUPS, means, strict=True)}


def geodesic_degrees(a: Float[Tensor, "*batch 3"], b: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch"]:
    """Angle of the rotation that takes one orientation to the other.

    Args:
        a: axis-angle, radians.
        b: axis-angle, radians.

    Returns:
        Degrees in [0, 180].

    Example:
        >>> a, b = torch.tensor([0.0, 0.1, 0.0]), torch.tensor([0.0, -0.1, 0.0])
        >>> round(float(geodesic_degrees(a, b)), 3)
        11.459
    """
    q_a, q_b = to_quaternion(a), to_quaternion(b)
    q_b = torch.where((q_a * q_b).sum(-1, keepdim=True) < 0, -q_b, q_b)  # q and -q are one rotation
    # A rotation by the angle moves the quaternion by half of it, and a quarter of it has this tangent: exact for
    # small angles, where arccos is not.
    return torch.rad2deg(4 * torch.atan2((q_b - q_a).norm(dim=-1), (q_b + q_a).norm(dim=-1)))
