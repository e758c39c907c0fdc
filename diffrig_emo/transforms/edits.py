"""Edits: functions from face codes to face codes.

`source` is the face that is edited, `target` the face that gives; all else stays the source's. Both are of
one code space and one batch size. Edits that move the head need `conditioning.recenter` afterwards to keep
the face in its place in the picture.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures import FaceCodes, StructError
from diffrig_emo.transforms.rotations import slerp

CoefficientField = Literal["shape", "tex", "exp", "pose", "cam", "detail", "eye_pose", "translation"]
"""The fields of `FaceCodes` that are a row of coefficients per face."""


def transfer_expression(source: FaceCodes, target: FaceCodes) -> FaceCodes:
    """Give the source the target's expression: the coefficients *and* the jaw.

    Raises:
        StructError: when code spaces, batch sizes or numbers of coefficients differ.

    Example:
        >>> source = FaceCodes.zeros(1, n_shape=2, n_tex=2, n_exp=2, space="s")
        >>> target = source.replace(exp=torch.ones(1, 2), pose=torch.full((1, 6), 0.25))
        >>> edited = transfer_expression(source, target)
        >>> edited.exp.tolist(), edited.pose.tolist()
        ([[1.0, 1.0]], [[0.0, 0.0, 0.0, 0.25, 0.25, 0.25]])
    """
    _require_pair(source, target)
    return source.replace(exp=target.exp, pose=torch.cat([source.global_rotation, target.jaw_pose], dim=1))


def transfer_pose(source: FaceCodes, target: FaceCodes) -> FaceCodes:
    """Give the source the target's global rotation; the jaw stays the source's.

    Raises:
        StructError: when code spaces or batch sizes differ.
    """
    _require_pair(source, target)
    return source.replace(pose=torch.cat([target.global_rotation, source.jaw_pose], dim=1))


def transfer_light(source: FaceCodes, target: FaceCodes) -> FaceCodes:
    """Light the source as the target is lit.

    Raises:
        StructError: when code spaces or batch sizes differ.
    """
    _require_pair(source, target)
    return source.replace(light=target.light)


def with_mean_shape(codes: FaceCodes, shape: Float[Tensor, " n_shape"]) -> FaceCodes:
    """Give every face one shape, such as a person's mean over an album (DiffusionRig, section 3.3).

    Args:
        codes: the faces.
        shape: shape coefficients of the person.

    Raises:
        StructError: when `shape` is no vector of the codes' length.
    """
    if shape.shape != codes.shape.shape[1:]:
        raise StructError(
            f"shape: expected one vector of {codes.shape.shape[1]} coefficients, got {tuple(shape.shape)}; "
            "average an album's codes with codes.shape.mean(0)"
        )
    return codes.replace(shape=shape.to(codes.shape).expand_as(codes.shape))


def set_coefficient(codes: FaceCodes, field: CoefficientField, index: int, value: float | Tensor) -> FaceCodes:
    """Set one coefficient of every face.

    Args:
        codes: the faces.
        field: which code, e.g. "exp".
        index: which of its coefficients, from 0.
        value: a number, or one per face (batch).

    Raises:
        StructError: when the codes lack the field or it has fewer coefficients.

    Example:
        >>> codes = FaceCodes.zeros(1, n_shape=2, n_tex=2, n_exp=2, space="s")
        >>> set_coefficient(codes, "exp", 1, 0.5).exp.tolist()
        [[0.0, 0.5]]
    """
    coefficients = _coefficients(codes, field, index).clone()
    coefficients[:, index] = value
    return codes.replace(**{field: coefficients})


def add_to_coefficient(codes: FaceCodes, field: CoefficientField, index: int, amount: float | Tensor) -> FaceCodes:
    """Add to one coefficient of every face; arguments and errors as for `set_coefficient`."""
    return set_coefficient(codes, field, index, _coefficients(codes, field, index)[:, index] + amount)


def interpolate(start: FaceCodes, end: FaceCodes, weight: float | Float[Tensor, " batch"]) -> FaceCodes:
    """Go from one face to another: rotations turn at constant speed, everything else moves on a line.

    An absent eye pose or translation counts as zero. A 2-D similarity is linear in its four numbers, so
    `tform` stays one.

    Args:
        start: codes at weight 0.
        end: codes at weight 1.
        weight: a number, or one per face; beyond 0..1 the change is exaggerated.

    Raises:
        StructError: when code spaces or batch sizes differ, or `detail` or `tform` is given on one side only.

    Example:
        >>> start = FaceCodes.zeros(1, n_shape=2, n_tex=2, n_exp=2, space="s")
        >>> interpolate(start, start.replace(exp=torch.ones(1, 2)), 0.25).exp.tolist()
        [[0.25, 0.25]]
    """
    _require_pair(start, end)
    weights = torch.as_tensor(weight, dtype=start.exp.dtype, device=start.exp.device).reshape(-1)
    if len(weights) not in (1, start.batch_size):
        raise StructError(f"weight: expected a number or {start.batch_size} of them, got {len(weights)}")
    weights = weights.expand(start.batch_size)
    changes: dict[str, Tensor] = {}
    for field in dataclasses.fields(FaceCodes):
        a, b = getattr(start, field.name), getattr(end, field.name)
        if field.name == "space" or (a is None and b is None):
            continue
        if (a is None or b is None) and field.name not in ("eye_pose", "translation"):
            raise StructError(f"FaceCodes.{field.name}: expected it in both codes or neither, got it in one")
        a = torch.zeros_like(b) if a is None else a
        b = torch.zeros_like(a) if b is None else b
        blend = _turn if field.name in ("pose", "eye_pose") else torch.lerp
        changes[field.name] = blend(a, b, weights.reshape(-1, *[1] * (a.ndim - 1)))
    return start.replace(**changes)


def _turn(a: Float[Tensor, "batch 6"], b: Float[Tensor, "batch 6"], weight: Float[Tensor, "batch 1"]) -> Tensor:
    """Interpolate two axis-angle rotations side by side."""
    return slerp(a.reshape(-1, 2, 3), b.reshape(-1, 2, 3), weight[:, None]).reshape(-1, 6)


def _require_pair(source: FaceCodes, target: FaceCodes) -> None:
    target.require_space(source.space)
    if source.batch_size != target.batch_size:
        raise StructError(
            f"FaceCodes: expected two batches of one size, got {source.batch_size} and {target.batch_size}; "
            "repeat a single face with codes[[0] * n]"
        )


def _coefficients(codes: FaceCodes, field: str, index: int) -> Tensor:
    values: Tensor | None = getattr(codes, field)
    if values is None or values.ndim != 2:
        raise StructError(f"FaceCodes.{field}: expected a row of coefficients per face, got none")
    if not -values.shape[1] <= index < values.shape[1]:
        raise StructError(f"FaceCodes.{field}: expected an index of {values.shape[1]} coefficients, got {index}")
    return values
