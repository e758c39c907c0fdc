"""Expressions of parts of a face: the mouth of one, the eyes of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.morphable.base import FaceModel
from diffrig_emo.morphable.synthetic_head import SyntheticHead
from diffrig_emo.structures import FaceCodes, StructError

Region: TypeAlias = Literal["mouth", "eyes", "brows"]
"""A part of the face that moves."""

REGIONS: dict[Region, tuple[int, ...]] = {
    "mouth": tuple(range(48, 68)),
    "eyes": tuple(range(36, 48)),
    "brows": tuple(range(17, 27)),
}
"""The landmarks of each region, of the 68."""

_OF_SYNTHETIC: dict[Region, tuple[str, ...]] = {
    "mouth": ("lips", "mouth", "teeth"),
    "eyes": ("lids_left", "lids_right", "eyes"),
    "brows": ("brows",),
}
_FADE = 0.004
"""Metres over which one region gives way to the next."""


@torch.no_grad()
def expression_basis(face_model: FaceModel) -> Float[Tensor, "n_vertices 3 n_exp"]:
    """What each expression coefficient does to the vertices of the mean face at rest: metres at value 1.

    Exact for models whose expressions are linear before they are posed, as FLAME's and the synthetic head's are.
    """
    rest = _rest(face_model, face_model.n_exp + 1)
    exp = torch.eye(face_model.n_exp + 1, face_model.n_exp, dtype=rest.exp.dtype, device=rest.exp.device)
    vertices: Tensor = face_model(rest.replace(exp=exp)).vertices  # the last row is the neutral face
    return (vertices[:-1] - vertices[-1:]).permute(1, 2, 0)


@torch.no_grad()
def region_weights(face_model: FaceModel, regions: Sequence[Region]) -> Float[Tensor, " n_vertices"]:
    """How much each vertex belongs to some regions, 0 to 1.

    A vertex belongs to the nearest of mouth, eyes and brows, on the mean face at rest; in between they fade into each
    other over some millimetres. Together they make up the whole head. The synthetic head knows its regions' vertices;
    of other models their landmarks stand for them.

    Args:
        face_model: the model.
        regions: one or more of mouth, eyes, brows.

    Raises:
        ValueError: when a region is unknown, or none is given.
    """
    if not regions or any(region not in REGIONS for region in regions):
        raise ValueError(f"regions: expected one or more of {', '.join(REGIONS)}, got {list(regions)}")
    mesh = face_model(_rest(face_model, 1))
    vertices = mesh.vertices[0]
    distance = []
    for name, landmarks in REGIONS.items():
        if isinstance(face_model, SyntheticHead):
            parts = torch.cat([face_model.regions[part] for part in _OF_SYNTHETIC[name]])
            seeds = vertices[parts.to(vertices.device)]
        else:
            seeds = mesh.landmarks3d[0, list(landmarks)]
        distance.append(torch.cdist(vertices, seeds).amin(dim=1))
    share = torch.softmax(-torch.stack(distance) / _FADE, dim=0)
    return share[[list(REGIONS).index(region) for region in dict.fromkeys(regions)]].sum(dim=0)


@torch.no_grad()
def transfer_region(
    source: FaceCodes, target: FaceCodes, face_model: FaceModel, regions: Sequence[Region], stiffness: float = 1e-3
) -> FaceCodes:
    """Give the source the target's expression in some regions only; the jaw belongs to the mouth.

    The expression d that is added to the source's is the one whose vertices move as the target's in the regions and
    stay elsewhere, by least squares: with E the linear basis, w the vertices' weights, D = target - source,

        minimise_d  |E d - w E D|^2 + stiffness s |d - p D|^2,

    where s is the mean of the diagonal of E'E and p_i the share of direction i's motion that lies in the regions. The
    second term keeps directions that hardly move anything from making up for others by huge numbers. Solved in closed
    form, float64. With all regions the whole expression is the target's.

    Args:
        source: the faces that are edited.
        target: the faces that give, as many.
        face_model: the model of their space.
        regions: one or more of mouth, eyes, brows.
        stiffness: weight of the second term.

    Raises:
        ValueError: when a region is unknown, or none is given.
        StructError: when code spaces or batch sizes differ.

    Example:
        >>> head = SyntheticHead()
        >>> codes = FaceCodes.zeros(1, n_shape=head.n_shape, n_tex=30, n_exp=head.n_exp, space=head.space)
        >>> target = codes.replace(exp=head.expression_codes("smile", "brow_raise")[None])
        >>> mouth = transfer_region(codes, target, head, ["mouth"]).exp[0]
        >>> smile, raised = (head.expression_names.index(name) for name in ("smile", "brow_raise"))
        >>> round(mouth[smile].item(), 1), round(mouth[raised].item(), 1)
        (0.7, 0.0)
    """
    target.require_space(source.space)
    if source.batch_size != target.batch_size:
        raise StructError(
            f"FaceCodes: expected two batches of one size, got {source.batch_size} and {target.batch_size}"
        )
    basis = expression_basis(face_model).double()
    weight = region_weights(face_model, regions).double()
    columns = basis.flatten(0, 1)
    inside = (weight[:, None, None] * basis).flatten(0, 1)
    gram, cross = columns.T @ columns, columns.T @ inside
    share = cross.diagonal() / gram.diagonal().clamp(min=1e-30)
    ridge = stiffness * gram.diagonal().mean()
    change = (target.exp - source.exp).double()
    wanted = change @ cross.T + ridge * share * change
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solved = torch.linalg.solve(gram + ridge * identity, wanted.T).T
    jaw = target.jaw_pose if "mouth" in regions else source.jaw_pose
    return source.replace(exp=source.exp + solved.to(source.exp), pose=torch.cat([source.global_rotation, jaw], dim=1))


def _rest(face_model: FaceModel, count: int) -> FaceCodes:
    like = next(iter([*face_model.parameters(), *face_model.buffers()]))
    return FaceCodes.zeros(
        count,
        n_shape=face_model.n_shape,
        n_tex=1,
        n_exp=face_model.n_exp,
        space=face_model.space,
        device=like.device,
    )
