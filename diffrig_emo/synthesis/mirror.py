"""Faces in a mirror: synthetic photographs and their codes, left and right exchanged."""

from __future__ import annotations

import torch

from diffrig_emo.morphable.synthetic_head import SyntheticHead
from diffrig_emo.morphable.synthetic_head.identity import SHAPE_NAMES
from diffrig_emo.structures import FaceCodes

_ODD_BASIS = (1, 4, 5)  # x, xy and xz: the spherical harmonics that change sign with x


def mirrored_codes(codes: FaceCodes) -> FaceCodes:
    """Codes of the mirror images of `SyntheticHead` faces: `image.flip(-1)` shows what they describe.

    A picture and its mirror image teach an encoder twice for the price of one. Texture coefficients stay: the albedo
    of the synthetic head is symmetric.

    Args:
        codes: codes of space "synthetic1", without `tform`.

    Raises:
        StructError: when the codes are of another space.

    Example:
        >>> head = SyntheticHead()
        >>> codes = FaceCodes.zeros(1, n_shape=head.n_shape, n_tex=30, n_exp=head.n_exp, space=head.space)
        >>> left = codes.replace(exp=head.expression_codes("smirk_left")[None])
        >>> bool((mirrored_codes(left).exp == head.expression_codes("smirk_right")).all())
        True
    """
    head = SyntheticHead()
    codes.require_space(head.space)
    lean = torch.tensor([-1.0 if name.endswith("_lean") else 1.0 for name in SHAPE_NAMES])
    names = head.expression_names
    swapped = [name.replace("left", "*").replace("right", "left").replace("*", "right") for name in names]
    order = torch.tensor([names.index(name) for name in swapped])
    light = codes.light.clone()
    light[:, _ODD_BASIS] *= -1
    return codes.replace(
        shape=codes.shape * lean.to(codes.shape),
        exp=codes.exp[:, order],
        pose=codes.pose * codes.pose.new_tensor([1, -1, -1, 1, -1, -1]),
        cam=codes.cam * codes.cam.new_tensor([1, -1, 1]),
        light=light,
    )
