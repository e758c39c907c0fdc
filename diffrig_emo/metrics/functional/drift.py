"""How far identity moved: in codes beside the distance between people, and in millimetres on the mesh."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures import FaceCodes, FaceMesh

GROUPS_MM = ("shape", "exp", "jaw_pose")
"""Groups whose differences show on a mesh by themselves."""
_MILLIMETRES = 1000
"""In a metre."""


def beta_drift(
    pred: Float[Tensor, "batch n_shape"], source: Float[Tensor, "batch n_shape"]
) -> dict[str, Float[Tensor, ""]]:
    """How far edits moved the shape code beta, beside how far people are apart.

    Args:
        pred: beta that an encoder reads off the edits.
        source: beta that it reads off the sources, one person each: other faces of one person make people look closer.

    Returns:
        `drift`: root mean square of `pred - source` over faces and coefficients; `between_people`: the same over all
        pairs of two different sources, NaN for fewer than two; `relative`: their ratio, 0 for kept identities and
        around 1 for exchanged ones.

    Raises:
        ValueError: when the shapes are no two equal batches.

    Example:
        >>> source = torch.tensor([[0.0, 0.0], [2.0, 2.0]])
        >>> {name: round(value.item(), 3) for name, value in beta_drift(source + 1, source).items()}
        {'drift': 1.0, 'between_people': 2.0, 'relative': 0.5}
    """
    return _drift_compute(*_drift_update(pred, source))


def _drift_update(pred: Tensor, source: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Number of faces, sums of |pred - source|^2 and of |source|^2, and sum of source (n_shape,), in float64."""
    if source.ndim != 2 or pred.shape != source.shape:
        raise ValueError(
            f"pred and source: expected equal shapes (batch, n_shape), got {tuple(pred.shape)} and "
            f"{tuple(source.shape)}"
        )
    pred, source = pred.double(), source.double()
    count = source.new_tensor(len(source))
    return count, (pred - source).square().sum(), source.square().sum(), source.sum(dim=0)


def _drift_compute(count: Tensor, moved: Tensor, squares: Tensor, total: Tensor) -> dict[str, Tensor]:
    size = len(total)
    drift = (moved / (count * size)).sqrt()
    # Over all pairs, sum |a - b|^2 = n sum |a|^2 - |sum a|^2.
    pairs = count * (count - 1) / 2
    apart = ((count * squares - total.square().sum()).clamp(min=0) / (pairs * size)).sqrt()
    return {"drift": drift.float(), "between_people": apart.float(), "relative": (drift / apart).float()}


def vertex_distance(
    pred: Float[Tensor, "batch n_vertices 3"], target: Float[Tensor, "batch n_vertices 3"]
) -> Float[Tensor, " batch"]:
    """Mean distance of corresponding vertices of each face.

    Args:
        pred: world metres.
        target: world metres.

    Returns:
        Millimetres.

    Raises:
        ValueError: when the shapes differ.

    Example:
        >>> vertex_distance(torch.zeros(1, 5, 3), torch.full((1, 5, 3), 0.001)).round(decimals=3).tolist()
        [1.73...]
    """
    if pred.ndim != 3 or pred.shape != target.shape:
        raise ValueError(
            f"pred and target: expected equal shapes (batch, n_vertices, 3), got {tuple(pred.shape)} and "
            f"{tuple(target.shape)}"
        )
    metres: Tensor = torch.linalg.vector_norm(pred - target, dim=2).mean(dim=1)
    return _MILLIMETRES * metres


def code_distances_mm(
    pred: FaceCodes, target: FaceCodes, face_model: Callable[[FaceCodes], FaceMesh]
) -> dict[str, Float[Tensor, " batch"]]:
    """What a difference of codes means on the mesh: mean vertex distance with all other codes neutral.

    Args:
        pred: codes of the pictures under test.
        target: codes they should have; same space.
        face_model: codes to mesh.

    Returns:
        Millimetres for `shape` (the neutral faces), `exp` and `jaw_pose` (those of the mean person).

    Raises:
        StructError: when the spaces differ.

    Example:
        >>> from diffrig_emo.morphable import SyntheticHead
        >>> head = SyntheticHead()
        >>> target = FaceCodes.zeros(1, n_shape=head.n_shape, n_tex=1, n_exp=head.n_exp, space=head.space)
        >>> distances = code_distances_mm(target.replace(exp=target.exp + 0.1), target, head)
        >>> distances["shape"].item(), 0 < distances["exp"].item() < 5, distances["jaw_pose"].item()
        (0.0, True, 0.0)
    """
    pred.require_space(target.space)
    distances = {}
    for group in GROUPS_MM:
        meshes = [face_model(_alone(codes, group)).vertices for codes in (pred, target)]
        distances[group] = vertex_distance(*meshes)
    return distances


def _alone(codes: FaceCodes, group: str) -> FaceCodes:
    """One group of the codes, all others those of the neutral mean face."""
    neutral = FaceCodes.zeros(
        codes.batch_size,
        n_shape=codes.shape.shape[1],
        n_tex=codes.tex.shape[1],
        n_exp=codes.exp.shape[1],
        space=codes.space,
        device=codes.shape.device,
        dtype=codes.shape.dtype,
    )
    if group == "jaw_pose":
        return neutral.replace(pose=torch.cat([neutral.global_rotation, codes.jaw_pose], dim=1))
    return neutral.replace(**{group: getattr(codes, group)})
