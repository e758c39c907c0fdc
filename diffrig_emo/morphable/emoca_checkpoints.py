"""EMOCA's model folders: which checkpoint is the best, and what its second encoder predicts."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import yaml  # type: ignore[import-untyped]

from diffrig_emo.utils.assets import locate_asset

STAGES = ("detail", "coarse")
"""EMOCA's two stages of training, the later one first."""
_N_EXP = 50


class Prediction(NamedTuple):
    """What EMOCA's second encoder predicts besides the expression."""

    global_rotation: bool
    jaw_pose: bool

    @property
    def width(self) -> int:
        """How many numbers the encoder gives."""
        return _N_EXP + 3 * self.global_rotation + 3 * self.jaw_pose


def find_checkpoint(path: str | Path | None) -> Path:
    """The checkpoint that the authors' demo would load.

    Args:
        path: a checkpoint, or what `diffrig-emo convert` made of one; a model folder (with `detail/checkpoints` or
            `coarse/checkpoints` below it); or a folder to search for the default model. None: the default model is
            looked for where `diffrig_emo.utils.assets` looks.

    Raises:
        FileNotFoundError: when there is no model, or no checkpoint in it.
    """
    folder = None if path is None else Path(path).expanduser()
    if folder is not None and folder.is_file():
        return folder
    if folder is None or not _checkpoint_folders(folder):
        folder = locate_asset("emoca", path)
        if folder.is_file():
            return folder
    searched = _checkpoint_folders(folder)
    for checkpoints in searched:
        best = _best(checkpoints)
        if best is not None:
            return best
    looked = ", ".join(str(f) for f in searched) or str(folder / "detail" / "checkpoints")
    raise FileNotFoundError(
        f"{folder}: no checkpoint of EMOCA was found in {looked} or below. Expected names that end in their validation "
        "loss, such as deca-epoch=10-val_loss/dataloader_idx_0=3.25521111.ckpt (the slash is a folder; unpack the zip "
        "with folders), or give the .ckpt file itself."
    )


def find_deca(path: str | Path | None) -> Path:
    """DECA's file, or the checkpoint of a model folder in EMOCA's layout, which has DECA's networks too.

    Raises:
        FileNotFoundError: when there is neither.
    """
    if path is not None and _checkpoint_folders(Path(path).expanduser()):
        return find_checkpoint(path)
    return locate_asset("deca", path)


def read_prediction(checkpoint: Path, width: int) -> Prediction:
    """What the second encoder of a checkpoint predicts: by its `cfg.yaml` where there is one, else by its width.

    Args:
        checkpoint: the file; `<model>/cfg.yaml` is looked for when it lies in `<model>/detail/checkpoints` or below.
        width: how many numbers the encoder gives.

    Raises:
        ValueError: when the width fits no EMOCA, or `cfg.yaml` is unreadable or contradicts it.
    """
    by_width = {p.width: p for p in (Prediction(False, False), Prediction(False, True), Prediction(True, True))}
    if width not in by_width:
        raise ValueError(
            f"{checkpoint}: E_expression gives {width} numbers; EMOCA's gives 50 (expression), 53 (and jaw or global "
            "rotation) or 56 (and both). Models of other families, such as EMICA, have other codes."
        )
    config, stage = _config_of(checkpoint)
    configured = None if config is None else _configured(config, stage)
    if configured is None:
        if width == Prediction(False, True).width:
            warnings.warn(
                f"{checkpoint}: E_expression gives 53 numbers and no cfg.yaml says whether the last three are the jaw "
                "or the global rotation: the jaw is assumed. Put the model's cfg.yaml beside its folder `detail`.",
                stacklevel=2,
            )
        return by_width[width]
    if configured.width != width:
        raise ValueError(
            f"{config}: exp_deca_global_pose {configured.global_rotation} and exp_deca_jaw_pose {configured.jaw_pose} "
            f"ask for {configured.width} numbers, but E_expression of {checkpoint} gives {width}; they belong to "
            "different models. Take both from one download."
        )
    return configured


def _checkpoint_folders(folder: Path) -> list[Path]:
    found = [folder / stage / "checkpoints" for stage in STAGES] + [folder / "checkpoints"]
    found += [folder] * (folder.name == "checkpoints")
    return [f for f in found if f.is_dir()]


def _best(folder: Path) -> Path | None:
    """Of all checkpoints below, the one with the smallest number after the last `=`; the last of several."""
    losses = {path: _loss(path) for path in sorted(folder.rglob("*.ckpt"), reverse=True)}
    best = min(losses, key=lambda path: losses[path], default=None)
    return best if best is not None and losses[best] < math.inf else None


def _loss(path: Path) -> float:
    try:
        loss = float(path.stem.rpartition("=")[2])
    except ValueError:
        return math.inf
    return loss if math.isfinite(loss) else math.inf


def _config_of(checkpoint: Path) -> tuple[Path | None, str]:
    """The model's `cfg.yaml`, if it has one, and the stage that the checkpoint is of."""
    for folder in checkpoint.absolute().parents:
        stage = folder.parent
        if folder.name == "checkpoints" and stage.name in STAGES:
            config = stage.parent / "cfg.yaml"
            return (config if config.is_file() else None), stage.name
    return None, ""


def _configured(config: Path, stage: str) -> Prediction | None:
    """The two settings in the block of a stage, or None where the file lacks them."""
    try:
        blocks: Any = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{config}: expected EMOCA's settings as plain YAML, got something else: {reason}") from error
    if not isinstance(blocks, dict) or not any(name in blocks for name in STAGES):
        raise ValueError(f"{config}: expected EMOCA's settings, with blocks `coarse` and `detail`, got none of them")
    block = blocks.get(stage)
    model = block.get("model") if isinstance(block, dict) else None
    names = ("exp_deca_global_pose", "exp_deca_jaw_pose")
    if not isinstance(model, dict) or not any(name in model for name in names):
        return None
    return Prediction(*(bool(model.get(name, False)) for name in names))
