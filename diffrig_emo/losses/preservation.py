"""How far an edit moved what it should have kept, and how far it is from what it should have reached."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from diffrig_emo.structures import FaceCodes

UNITS = {"shape": 1.0, "tex": 1.0, "light": 0.5, "global_rotation": 0.2, "exp": 0.3, "jaw_pose": 0.1}
"""Typical spread of each group: codes are compared in these units. Rotations are in radians."""

REACHED = ("exp", "jaw_pose")
"""Groups that an expression edit is to change: compared with the target; all others with the source."""


def code_distances(a: FaceCodes, b: FaceCodes) -> dict[str, Float[Tensor, " batch"]]:
    """Mean squared difference per face and group, in squared `UNITS`.

    Raises:
        StructError: when the codes are of different spaces.

    Example:
        >>> import torch
        >>> a = FaceCodes.zeros(1, n_shape=2, n_tex=2, n_exp=2, space="s")
        >>> code_distances(a, a.replace(shape=torch.tensor([[1.0, 1.0]])))["shape"].tolist()
        [1.0]
    """
    b.require_space(a.space)
    return {
        name: ((getattr(a, name) - getattr(b, name)) / unit).square().flatten(1).mean(dim=1)
        for name, unit in UNITS.items()
    }


class PreservationLoss(nn.Module):
    """Drift of what an expression edit should keep, and distance to the expression that it should reach.

    An encoder reads other codes off two photographs of one person even when nothing was edited badly. This floor is
    no fault of the generator, and chasing it teaches the generator to please the encoder: of each group only what
    exceeds the floor counts. Measure it on true pairs: photographs of one person with different expressions
    (`measure_floor`), or true edits of synthetic faces.

    Args:
        shape: weight of the drift of identity shape beta.
        tex: weight of the drift of texture.
        light: weight of the drift of the light.
        global_rotation: weight of the drift of the head's rotation.
        exp: weight of the distance of the expression coefficients from the target.
        jaw_pose: weight of the distance of the jaw.
        floor: by group, the mean squared difference (squared `UNITS`) that true pairs show; absent groups have none.

    Raises:
        ValueError: when a weight or a floor is negative, or a floor names no group.

    Example:
        >>> import torch
        >>> codes = FaceCodes.zeros(1, n_shape=2, n_tex=2, n_exp=2, space="s")
        >>> loss = PreservationLoss(floor={"shape": 0.25})
        >>> drifted = codes.replace(shape=torch.tensor([[1.0, 1.0]]))
        >>> loss(codes, drifted, codes)["shape"].tolist()
        [0.75]
    """

    def __init__(
        self,
        shape: float = 1.0,
        tex: float = 0.3,
        light: float = 0.3,
        global_rotation: float = 0.3,
        exp: float = 1.0,
        jaw_pose: float = 0.3,
        floor: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.weights = {
            "shape": shape,
            "tex": tex,
            "light": light,
            "global_rotation": global_rotation,
            "exp": exp,
            "jaw_pose": jaw_pose,
        }
        self.floor = dict(floor or {})
        for kind, numbers in {"weight": self.weights, "floor": self.floor}.items():
            for name, value in numbers.items():
                if name not in UNITS:
                    raise ValueError(f"PreservationLoss: {name!r} is no group; the groups are {', '.join(UNITS)}")
                if value < 0:
                    raise ValueError(f"PreservationLoss: the {kind} of {name} must be at least 0, got {value}")

    def forward(self, source: FaceCodes, edit: FaceCodes, target: FaceCodes) -> dict[str, Float[Tensor, " batch"]]:
        """Weighted excess per face and group.

        Args:
            source: codes read off the sources.
            edit: codes read off the edits.
            target: codes whose expression and jaw the edits should have.
        """
        kept, reached = code_distances(edit, source), code_distances(edit, target)
        distances = {name: (reached if name in REACHED else kept)[name] for name in UNITS}
        return {
            name: self.weights[name] * (distance - self.floor.get(name, 0.0)).clamp(min=0)
            for name, distance in distances.items()
        }


def measure_floor(before: FaceCodes, after: FaceCodes, target: FaceCodes) -> dict[str, float]:
    """What `PreservationLoss` should not chase: its distances on true pairs.

    Args:
        before: codes read off photographs.
        after: codes read off true edits of them, or photographs of the same people with another expression.
        target: codes whose expression `after` has, read the same way as the targets of training will be.

    Returns:
        Mean squared difference by group.
    """
    kept, reached = code_distances(after, before), code_distances(after, target)
    return {name: float((reached if name in REACHED else kept)[name].mean()) for name in UNITS}
