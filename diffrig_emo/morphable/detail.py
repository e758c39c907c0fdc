"""Wrinkles: DECA's decoder from codes to a displacement map."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import Self

from diffrig_emo.io.images import read_image
from diffrig_emo.morphable.deca import GROUPS, N_DETAIL
from diffrig_emo.morphable.emoca_checkpoints import find_deca
from diffrig_emo.morphable.official_weights import read_official
from diffrig_emo.utils.assets import locate_asset
from diffrig_emo.utils.licensed import keep_out_of_checkpoints

_SIDE = 8
_CHANNELS = (128, 128, 64, 64, 32, 16)
_NORM_EPS = 0.8
"""DECA hands its intended momentum to BatchNorm as eps; its weights were trained with that."""
_MAX_DISPLACEMENT = 0.01


class DetailDecoder(nn.Module):
    """`D_detail`: jaw, expression and wrinkle code to a displacement map (Feng et al., 2021, section 4.2).

    `diffrig_emo.synthesis.detail_normals` turns the map into normals. The weights are licensed, so they are
    frozen, always in eval mode, left out of checkpoints and read again.

    Args:
        path: `deca_model.tar` or a folder that holds it, or EMOCA's model folder or checkpoint: use the file that
            the codes come from. None: `deca_model.tar` is looked for where `diffrig_emo.utils.assets` looks.

    Raises:
        FileNotFoundError: saying where the file was looked for and where to get it.
        ValueError: when the file is truncated, tries to run code, or does not hold exactly this network.

    Example:
        ```python
        decoder = DetailDecoder("data/deca_model.tar")
        codes = DECA("data/deca_model.tar", detail=True)(crop)
        displacement = decoder(codes.jaw_pose, codes.exp, codes.detail)
        ```
    """

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__()
        with torch.device("meta"):
            self.l1 = nn.Sequential(nn.Linear(3 + GROUPS["exp"] + N_DETAIL, _CHANNELS[0] * _SIDE**2))
            self.conv_blocks = nn.Sequential(nn.BatchNorm2d(_CHANNELS[0]), *_stages(), nn.Tanh())
        read_official(find_deca(path)).load_into({"D_detail": self})
        keep_out_of_checkpoints(self.eval())

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def forward(
        self,
        jaw_pose: Float[Tensor, "batch 3"],
        exp: Float[Tensor, "batch 50"],
        detail: Float[Tensor, "batch 128"],
    ) -> Float[Tensor, "batch 1 256 256"]:
        """Decode wrinkles.

        Args:
            jaw_pose: axis-angle, radians.
            exp: expression coefficients.
            detail: wrinkle code.

        Returns:
            Displacement along the normal in UV space, metres, within 0.01 of zero; row 0 lies at v = 1.

        Raises:
            ValueError: when a code has another size.
        """
        shapes = [tuple(code.shape[1:]) for code in (jaw_pose, exp, detail)]
        if shapes != [(3,), (GROUPS["exp"],), (N_DETAIL,)]:
            raise ValueError(
                f"jaw_pose, exp and detail: expected {3}, {GROUPS['exp']} and {N_DETAIL} numbers per face, got {shapes}"
            )
        code = torch.cat([jaw_pose, exp, detail], dim=1)
        maps = self.l1(code).unflatten(1, (_CHANNELS[0], _SIDE, _SIDE))
        displacement: Tensor = _MAX_DISPLACEMENT * self.conv_blocks(maps)
        return displacement


class DetailMaps(NamedTuple):
    """What the decoder's wrinkles are drawn with; row 0 lies at v = 1."""

    face_mask: Float[Tensor, "256 256"]
    """1 where the displacement applies, 0 elsewhere."""
    fixed_displacement: Float[Tensor, "256 256"]
    """Displacement of every face, metres."""


def read_detail_maps(mask_path: str | Path | None = None, fixed_path: str | Path | None = None) -> DetailMaps:
    """Read the two official maps that belong to DECA's and EMOCA's wrinkles.

    Args:
        mask_path: `uv_face_eye_mask.png`. None: it is looked for where `diffrig_emo.utils.assets` looks.
        fixed_path: `fixed_displacement_256.npy`; None as before.

    Raises:
        FileNotFoundError: saying where a file was looked for and where to get it.
        ValueError: when a file is damaged or holds a map of another size.
    """
    mask_path = locate_asset("uv_face_eye_mask", mask_path)
    fixed_path = locate_asset("fixed_displacement", fixed_path)
    mask = read_image(mask_path)[0]
    try:
        fixed = torch.from_numpy(np.load(fixed_path, allow_pickle=False)).to(mask)
    except (ValueError, TypeError, EOFError) as error:
        raise ValueError(
            f"{fixed_path}: expected an array of 256 x 256 numbers, got a damaged file: {error}"
        ) from error
    for path, values in ((mask_path, mask), (fixed_path, fixed)):
        if values.shape != (_SIDE * 32, _SIDE * 32) or not torch.isfinite(values).all():
            raise ValueError(f"{path}: expected 256 x 256 finite numbers, got a map of shape {tuple(values.shape)}")
    return DetailMaps(mask, fixed)


def _stages() -> list[nn.Module]:
    """Five times twice as large, 8 to 256 pixels, then one channel."""
    layers: list[nn.Module] = []
    for before, after in pairwise(_CHANNELS):
        layers += [
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(before, after, 3, padding=1),
            nn.BatchNorm2d(after, eps=_NORM_EPS),
            nn.LeakyReLU(0.2),
        ]
    return [*layers, nn.Conv2d(_CHANNELS[-1], 1, 3, padding=1)]
