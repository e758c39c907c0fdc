"""DECA's encoders, read from the official file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import Self

from diffrig_emo.morphable.base import MorphableEncoder
from diffrig_emo.morphable.emoca_checkpoints import find_deca
from diffrig_emo.morphable.official_weights import read_official
from diffrig_emo.morphable.resnet_code_encoder import IMAGE_SIZE, ResNetCodeEncoder
from diffrig_emo.structures import FaceCodes, FaceCrop, StructError
from diffrig_emo.transforms.rotations import euler_to_axis_angle
from diffrig_emo.utils.licensed import keep_out_of_checkpoints

SPACE = "flame2020"
N_DETAIL = 128
GROUPS = {"shape": 100, "tex": 50, "exp": 50, "pose": 6, "cam": 3, "light": 27}
"""The 236 outputs of `E_flame`, in their order."""


class DECA(MorphableEncoder):
    """DECA (Feng et al., "Learning an animatable detailed 3D face model from in-the-wild images", 2021).

    The coarse encoder `E_flame` and, on demand, the detail encoder `E_detail`. The weights are licensed, so they
    are frozen, always in eval mode, left out of checkpoints and read again.

    Args:
        path: `deca_model.tar`, or a folder that holds it. None: it is looked for where `diffrig_emo.utils.assets`
            looks.
        detail: also give the 128 wrinkle codes, at the cost of a second ResNet-50.
        jaw_type: "aa": the jaw's three numbers are an axis-angle vector, as in the released model. "euler": they
            are angles about x, y, z, and are turned into one.

    Raises:
        FileNotFoundError: saying where the file was looked for and where to get it.
        ValueError: when the file is truncated, tries to run code, or does not hold exactly DECA's networks.

    Example:
        ```python
        deca = DECA("data/deca_model.tar")
        codes = deca(FaceCrop(image=pictures))  # (B, 3, 224, 224), RGB in [0, 1]
        ```
    """

    def __init__(
        self, path: str | Path | None = None, detail: bool = False, jaw_type: Literal["aa", "euler"] = "aa"
    ) -> None:
        super().__init__()
        if jaw_type not in ("aa", "euler"):
            raise ValueError(f"jaw_type: expected 'aa' or 'euler', got {jaw_type!r}")
        self.space, self.image_size, self.jaw_type = SPACE, IMAGE_SIZE, jaw_type
        weights = read_official(find_deca(path))
        if "E_expression" in weights.components:
            raise ValueError(
                f"{weights.path}: expected DECA's file, got {weights.kind}; read it with EMOCA(path), whose "
                "`encode_both` also gives DECA's codes"
            )
        self.coarse = ResNetCodeEncoder.without_weights(sum(GROUPS.values()))
        self.wrinkles = ResNetCodeEncoder.without_weights(N_DETAIL) if detail else None
        weights.load_into({"E_flame": self.coarse} | ({"E_detail": self.wrinkles} if self.wrinkles else {}))
        self.coarse.fold()
        if self.wrinkles is not None:
            self.wrinkles.fold()
        keep_out_of_checkpoints(self.eval())

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, crop: FaceCrop) -> FaceCodes:
        """Codes of the faces in `crop.image` ((B, 3, 224, 224), RGB in [0, 1]).

        Raises:
            StructError: when the crop has another size.
        """
        image = require_size(crop, "DECA")
        codes = split_codes(self.coarse(image).to(image.dtype), crop)
        if self.jaw_type == "euler":
            codes = codes.replace(pose=torch.cat([codes.global_rotation, euler_to_axis_angle(codes.jaw_pose)], dim=1))
        return codes if self.wrinkles is None else codes.replace(detail=self.wrinkles(image).to(image.dtype))


def require_size(crop: FaceCrop, encoder: str) -> Float[Tensor, "batch 3 224 224"]:
    """The crop's picture.

    Raises:
        StructError: when it has another size than the encoder was trained on.
    """
    size = tuple(crop.image.shape[2:])
    if size != (IMAGE_SIZE, IMAGE_SIZE):
        raise StructError(
            f"FaceCrop.image: {encoder} wants {IMAGE_SIZE} x {IMAGE_SIZE} pixels, got {size[0]} x {size[1]}; cut the "
            "face out with `diffrig_emo.transforms.crop.crop_face`"
        )
    return crop.image


def split_codes(outputs: Float[Tensor, "batch 236"], crop: FaceCrop) -> FaceCodes:
    """Name the outputs of `E_flame`."""
    codes = dict(zip(GROUPS, torch.split(outputs, list(GROUPS.values()), dim=1), strict=True))
    light = codes.pop("light").reshape(-1, 9, 3)
    return FaceCodes(space=SPACE, tform=crop.tform, light=light, **codes)
