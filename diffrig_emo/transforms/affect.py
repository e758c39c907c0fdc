"""From a place in the plane of valence and arousal to a mixture of named expressions, and mixtures to codes."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures import FaceCodes, StructError

MAX_STRENGTH = 1.5
"""How far an expression is exaggerated at most; 1 shows it as its examples do."""


def affect_strengths(
    valence: float, arousal: float, places: Float[Tensor, "n_emotions 2"], sharpness: float = 20.0
) -> Float[Tensor, " n_emotions"]:
    """How strongly each emotion shows at a place (v, a) of the circumplex (Russell, 1980, "A circumplex model ...").

    The direction chooses the emotions, the distance from the middle their strength:

        strength_k = w_k r / r_k,   w_k = softmax_k(sharpness cos(angle between (v, a) and the place of k))

    with r the distance of (v, a) and r_k that of the emotion's place from the middle. So the middle is neutral, half
    way to an emotion that stands alone is half of it, and emotions in nearly one direction, as fear and anger are, mix.
    It is smooth but for the middle, where it is continuous, and for the bound of `MAX_STRENGTH`.

    Args:
        valence: unpleasant -1 to pleasant 1.
        arousal: calm -1 to excited 1.
        places: valence and arousal of each emotion; one at the middle, neutral, gets no strength.
        sharpness: concentration of the von Mises kernel over directions: 20 is about 13 degrees to either side.

    Returns:
        Strengths, at least 0; together at most `MAX_STRENGTH`.

    Raises:
        ValueError: when valence or arousal is not within -1 to 1, or no place lies off the middle.

    Example:
        >>> places = torch.tensor([[0.0, 0.0], [0.8, 0.0], [0.0, 0.5]])
        >>> affect_strengths(0.4, 0.0, places).round(decimals=3).tolist()
        [0.0, 0.5, 0.0]
    """
    for name, value in {"valence": valence, "arousal": arousal}.items():
        if not -1 <= value <= 1:
            raise ValueError(f"{name}: expected a number from -1 to 1, got {value}")
    distance = torch.linalg.vector_norm(places.double(), dim=1)
    away = distance > 1e-6
    if not away.any():
        raise ValueError("places: expected an emotion off the middle of the plane, got none")
    wanted = torch.tensor([valence, arousal], dtype=torch.float64, device=places.device)
    reach = torch.linalg.vector_norm(wanted)
    cosine = places.double() @ wanted / (distance * reach).clamp(min=1e-12)
    weight = torch.softmax((sharpness * cosine).masked_fill(~away, -torch.inf), dim=0)
    strength: Tensor = weight * reach / distance.clamp(min=1e-6)
    strength = strength * (MAX_STRENGTH / strength.sum().clamp(min=MAX_STRENGTH))
    return strength.to(places)


def express(
    codes: FaceCodes,
    strengths: Float[Tensor, " n_emotions"],
    exp: Float[Tensor, "n_emotions n_exp"],
    jaw_pose: Float[Tensor, "n_emotions 3"],
) -> FaceCodes:
    """Give every face a mixture of expressions in place of its own: `p_0 + sum_k strength_k (p_k - p_0)`.

    Args:
        codes: the faces; all but expression and jaw stays theirs.
        strengths: of each emotion; zeros are neutral, a single 1 is that emotion.
        exp: expression of each emotion, neutral first.
        jaw_pose: jaw rotation of each emotion, axis-angle, radians.

    Raises:
        StructError: when the numbers of coefficients differ.

    Example:
        >>> codes = FaceCodes.zeros(1, n_shape=2, n_tex=2, n_exp=2, space="s")
        >>> exp, jaw = torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.zeros(2, 3)
        >>> express(codes, torch.tensor([0.0, 0.5]), exp, jaw).exp.tolist()
        [[0.5, 1.0]]
    """
    if exp.shape[1] != codes.exp.shape[1]:
        raise StructError(f"exp: expected {codes.exp.shape[1]} coefficients as the codes have, got {exp.shape[1]}")
    mixed = [(p[0] + strengths.to(p) @ (p - p[0])).to(codes.exp) for p in (exp, jaw_pose)]
    jaw = mixed[1].expand(codes.batch_size, -1)
    return codes.replace(exp=mixed[0].expand_as(codes.exp), pose=torch.cat([codes.global_rotation, jaw], dim=1))
