"""How far two sets of codes are apart, as a training loss."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from diffrig_emo.structures import FaceCodes


class CodeLoss(nn.Module):
    """Mean squared difference of codes, every group in units of its typical spread.

    The scales make one unit of each group weigh alike; a smaller scale weighs a group more.

    Args:
        shape: spread of a shape coefficient.
        tex: spread of a texture coefficient.
        exp: spread of an expression coefficient.
        global_rotation: spread of a component of the global rotation, radians.
        jaw_pose: spread of a component of the jaw rotation, radians.
        cam_scale: spread of the logarithm of the camera's scale.
        cam_shift: spread of the camera's shift, metres.
        light: spread of a lighting coefficient.
    """

    def __init__(
        self,
        shape: float = 1.0,
        tex: float = 1.0,
        exp: float = 0.3,
        global_rotation: float = 0.2,
        jaw_pose: float = 0.1,
        cam_scale: float = 0.1,
        cam_shift: float = 0.01,
        light: float = 0.5,
    ) -> None:
        super().__init__()
        self.scales = {
            "shape": shape,
            "tex": tex,
            "exp": exp,
            "global_rotation": global_rotation,
            "jaw_pose": jaw_pose,
            "cam_scale": cam_scale,
            "cam_shift": cam_shift,
            "light": light,
        }

    def forward(self, predicted: FaceCodes, true: FaceCodes) -> dict[str, Float[Tensor, ""]]:
        """Scalar loss per group, in units of the scales squared."""
        true.require_space(predicted.space)
        pairs = zip(_groups(predicted).items(), _groups(true).values(), strict=True)
        return {name: ((p - t) / self.scales[name]).square().mean() for (name, p), t in pairs}


def _groups(codes: FaceCodes) -> dict[str, Tensor]:
    return {
        "shape": codes.shape,
        "tex": codes.tex,
        "exp": codes.exp,
        "global_rotation": codes.global_rotation,
        "jaw_pose": codes.jaw_pose,
        "cam_scale": codes.cam[:, 0].log(),
        "cam_shift": codes.cam[:, 1:],
        "light": codes.light,
    }
