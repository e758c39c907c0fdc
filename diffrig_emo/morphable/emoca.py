"""EMOCA's encoders, read from the official model folder."""

from __future__ import annotations

from pathlib import Path

import torch
from typing_extensions import Self

from diffrig_emo.morphable.base import MorphableEncoder
from diffrig_emo.morphable.deca import GROUPS, N_DETAIL, SPACE, require_size, split_codes
from diffrig_emo.morphable.emoca_checkpoints import find_checkpoint, read_prediction
from diffrig_emo.morphable.official_weights import read_official
from diffrig_emo.morphable.resnet_code_encoder import IMAGE_SIZE, ResNetCodeEncoder
from diffrig_emo.structures import FaceCodes, FaceCrop
from diffrig_emo.utils.licensed import keep_out_of_checkpoints


class EMOCA(MorphableEncoder):
    """EMOCA v1 and v2 (Danecek et al., "EMOCA: Emotion driven monocular face capture and animation", 2022).

    DECA's frozen encoder, and a second one whose expression replaces DECA's: all else, the jaw included, is DECA's
    in the released models. A development model may also replace jaw and global rotation: its `cfg.yaml` says so, or
    else the width of its last layer. Both encoders are in EMOCA's checkpoint, so DECA's file is not needed.

    The weights are licensed, so they are frozen, always in eval mode, left out of checkpoints and read again.

    Args:
        path: a model folder (`EMOCA`, `EMOCA_v2_mp`, `EMOCA_v2_lr_mse_20`, `EMOCA_v2_lr_cos_1.5`), whose best
            checkpoint is found by its name; a `.ckpt` file; or a folder to search for `EMOCA_v2_lr_mse_20`. None:
            that one is looked for where `diffrig_emo.utils.assets` looks.
        detail: also give the 128 wrinkle codes, at the cost of a third ResNet-50.

    Attributes:
        prediction: whether the second encoder also gives `global_rotation` and `jaw_pose`.

    Raises:
        FileNotFoundError: saying where the model was looked for and where to get it.
        ValueError: when the file is truncated, tries to run code, does not hold exactly EMOCA's networks, or
            `cfg.yaml` contradicts it.

    Example:
        ```python
        emoca = EMOCA("assets/EMOCA/models/EMOCA_v2_lr_mse_20")
        deca_codes, emoca_codes = emoca.encode_both(FaceCrop(image=pictures))  # (B, 3, 224, 224), RGB in [0, 1]
        ```
    """

    def __init__(self, path: str | Path | None = None, detail: bool = False) -> None:
        super().__init__()
        self.space, self.image_size = SPACE, IMAGE_SIZE
        weights = read_official(find_checkpoint(path))
        if "E_expression" not in weights.components:
            raise ValueError(
                f"{weights.path}: expected EMOCA's checkpoint, got {weights.kind}, which has no second encoder; read "
                "it with DECA(path)"
            )
        last = weights.components["E_expression"].get("layers.2.weight")
        # Without that layer, the usual width makes the comparison below say what is missing.
        width = 50 if last is None else len(last)
        self.prediction = read_prediction(weights.path, width)
        networks = {
            "E_flame": ResNetCodeEncoder.without_weights(sum(GROUPS.values())),
            "E_expression": ResNetCodeEncoder.without_weights(width),
        }
        if detail:
            networks["E_detail"] = ResNetCodeEncoder.without_weights(N_DETAIL)
        weights.load_into(networks)
        self.coarse = networks["E_flame"].fold()
        self.expression = networks["E_expression"].fold()
        self.wrinkles = networks["E_detail"].fold() if detail else None
        keep_out_of_checkpoints(self.eval())

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, crop: FaceCrop) -> FaceCodes:
        """Codes of the faces in `crop.image` ((B, 3, 224, 224), RGB in [0, 1]).

        Raises:
            StructError: when the crop has another size.
        """
        return self.encode_both(crop)[1]

    def encode_both(self, crop: FaceCrop) -> tuple[FaceCodes, FaceCodes]:
        """DECA's and EMOCA's codes of the same faces, in one pass of each network.

        The first are those of `DECA()(crop)`, without `detail`: EMOCA's checkpoint has a detail encoder of its own.

        Raises:
            StructError: when the crop has another size.
        """
        image = require_size(crop, "EMOCA")
        deca = split_codes(self.coarse(image).to(image.dtype), crop)
        outputs = self.expression(image).to(image.dtype)
        n_exp = GROUPS["exp"]
        global_rotation = outputs[:, n_exp : n_exp + 3] if self.prediction.global_rotation else deca.global_rotation
        jaw_pose = outputs[:, -3:] if self.prediction.jaw_pose else deca.jaw_pose
        pose = torch.cat([global_rotation, jaw_pose], dim=1)
        emoca = deca.replace(exp=outputs[:, :n_exp], pose=pose)
        if self.wrinkles is not None:
            emoca = emoca.replace(detail=self.wrinkles(image).to(image.dtype))
        return deca, emoca
