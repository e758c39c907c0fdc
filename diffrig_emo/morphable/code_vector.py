"""Codes as one row of numbers of about unit spread, as networks give them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures import FaceCodes
from diffrig_emo.structures.codes import EVEN_LIGHT


class _Group(NamedTuple):
    """A slice of the row, and the typical spread of the code that it stands for."""

    size: int
    spread: float


class CodeVector:
    """Packs codes into rows and rows into codes; a row of zeros is the mean face, looking ahead in an even light.

    Args:
        n_shape: number of shape coefficients.
        n_tex: number of texture coefficients.
        n_exp: number of expression coefficients.
        space: code space of the codes.
        cam_scale: camera scale of a typical face.

    Example:
        >>> rows = CodeVector(n_shape=4, n_tex=4, n_exp=4, space="s")
        >>> codes = rows.unpack(torch.zeros(1, rows.size))
        >>> codes.cam.tolist(), bool(rows.pack(codes).abs().max() < 1e-6)
        ([[8.0, 0.0, 0.0]], True)
    """

    def __init__(self, n_shape: int, n_tex: int, n_exp: int, space: str, cam_scale: float = 8.0) -> None:
        self.space = space
        self.cam_scale = cam_scale
        self.groups = {
            "shape": _Group(n_shape, 1.0),
            "tex": _Group(n_tex, 1.0),
            "exp": _Group(n_exp, 0.5),
            "pose": _Group(6, 0.3),
            "cam": _Group(3, 0.1),
            "light": _Group(27, 0.5),
        }
        self.size = sum(group.size for group in self.groups.values())
        """Numbers in a row."""

    def unpack(self, rows: Float[Tensor, "batch size"], tform: Float[Tensor, "batch 3 3"] | None = None) -> FaceCodes:
        """Codes of these rows; `tform` travels along."""
        parts = torch.split(rows, [group.size for group in self.groups.values()], dim=1)
        codes = {name: g.spread * part for (name, g), part in zip(self.groups.items(), parts, strict=True)}
        log_scale, shift = codes["cam"][:, :1], codes["cam"][:, 1:]
        codes["cam"] = torch.cat([self.cam_scale * torch.exp(log_scale), 0.2 * shift], dim=1)
        codes["light"] = codes["light"].reshape(-1, 9, 3) + self._even_light(rows)
        return FaceCodes(space=self.space, tform=tform, **codes)

    def pack(self, codes: FaceCodes) -> Float[Tensor, "batch size"]:
        """Rows of these codes, the inverse of `unpack`."""
        codes.require_space(self.space)
        cam = torch.cat([torch.log(codes.cam[:, :1] / self.cam_scale), codes.cam[:, 1:] / 0.2], dim=1)
        light = (codes.light - self._even_light(codes.light)).flatten(1)
        numbers = {"shape": codes.shape, "tex": codes.tex, "exp": codes.exp, "pose": codes.pose, "cam": cam}
        numbers["light"] = light
        return torch.cat([numbers[name] / group.spread for name, group in self.groups.items()], dim=1)

    @staticmethod
    def _even_light(like: Tensor) -> Tensor:
        even = like.new_zeros(9, 3)
        even[0] = EVEN_LIGHT
        return even
