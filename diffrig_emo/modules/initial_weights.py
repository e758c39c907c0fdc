"""An earlier stage's weights as the start of a later one; files of another config are refused, the mismatch named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffrig_emo.diffusion.global_encoder import ResNetGlobalEncoder
from diffrig_emo.diffusion.schedules import LinearSchedule, NoiseSchedule
from diffrig_emo.diffusion.state_dicts import load_diffusionrig
from diffrig_emo.diffusion.unet import ConditionedUNet
from diffrig_emo.io.checkpoints import read_weights

NOISE_LEVELS = "alphas_cumprod"
"""Where a checkpoint of `FaceDiffusion` keeps the table of its schedule, which no other stage may exchange."""

PARTS = ("denoiser", "conditioners", "autoencoder")
"""Parts of a `FaceDiffusion` whose weights are taken over."""

# Settings in which stages may differ: they change neither the meaning of a weight nor that of a condition.
_FREE = frozenset(
    {"dropout", "frozen", "batchnorm_train", "required", "pretrained", "rasterizer", "path", "model_path",
     "landmark_path", "template_path"}
)  # fmt: skip


def load_initial_weights(
    path: str | Path, rig: nn.Module, settings: Mapping[str, Any], schedule: NoiseSchedule
) -> None:
    """Copy an earlier stage's denoiser, conditioners and autoencoder into a rig.

    Args:
        path: a Lightning checkpoint of a `FaceDiffusion`, whose averaged weights are taken where it has them; the same
            tensors as `.safetensors`; or DiffusionRig's own model file.
        rig: the rig, with the parts `denoiser`, `conditioners` and, of a latent model, `autoencoder`.
        settings: the rig's hyperparameters, compared with the checkpoint's as far as both tell them.
        schedule: the rig's noise schedule, likewise.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, or of another config: the first mismatches are named, nothing is copied.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"initial_weights: expected an earlier stage's checkpoint, but {path} does not exist. "
            "A run that is resumed has its weights in its own checkpoint: leave initial_weights out there"
        )
    content = read_weights(path)
    if any(name.startswith("denoisingUNet.") for name in content):
        _load_official(path, content, rig, settings, schedule)
        return
    # With an average of the weights this is the average: see `WeightEMA`.
    state = content.get("state_dict", content)
    theirs = {name: t for name, t in state.items() if name.partition(".")[0] in PARTS and isinstance(t, Tensor)}
    if not theirs:
        raise ValueError(
            f"initial_weights: expected the checkpoint of a FaceDiffusion, got {path} without a denoiser in it"
        )
    mismatches = list(_differing_settings(content.get("hyper_parameters", {}), settings))
    levels = content.get(NOISE_LEVELS)
    if levels is not None and not torch.equal(levels, schedule.alphas_cumprod):
        mismatches.append(f"the noise levels of the schedule are others ({len(levels)} and {schedule.num_steps} steps)")
    own = {name: tensor for name, tensor in rig.state_dict().items() if name.partition(".")[0] in PARTS}
    mismatches += _differing_tensors(theirs, own)
    if mismatches:
        shown = "; ".join(mismatches[:4])
        more = f"; and {len(mismatches) - 4} more" if len(mismatches) > 4 else ""
        raise ValueError(
            f"initial_weights: {path} is of another config: {shown}{more}. Give this model the settings of that stage, "
            "or a checkpoint that has these"
        )
    # Not strict: files that are licensed stay out of checkpoints, and the names were compared above.
    rig.load_state_dict(theirs, strict=False)


def _differing_settings(theirs: Any, ours: Any) -> Iterator[str]:
    """Mismatches of what both tell of the network, the conditions, the prediction and the schedule."""
    for name in ("prediction_type", "schedule", "latent_scale", *PARTS):
        if name in theirs and name in ours:
            yield from _differences(name, theirs[name], ours[name])


def _differences(name: str, theirs: Any, ours: Any) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if "class_path" in theirs and "class_path" in ours:
            classes = [str(config["class_path"]).rpartition(".")[2] for config in (theirs, ours)]
            if classes[0] != classes[1]:
                yield _mismatch(name, *classes)
                return
            theirs, ours = theirs.get("init_args", {}), ours.get("init_args", {})
        for key in theirs:
            if key in ours and key not in _FREE:
                yield from _differences(f"{name}.{key}", theirs[key], ours[key])
    elif isinstance(theirs, list | tuple) and isinstance(ours, list | tuple) and len(theirs) == len(ours):
        for number, (their, our) in enumerate(zip(theirs, ours, strict=True)):
            yield from _differences(f"{name}[{number}]", their, our)
    elif _told(theirs) and _told(ours) and theirs != ours:
        yield _mismatch(name, theirs, ours)


def _told(setting: Any) -> bool:
    """Whether a setting is there to compare; parts that were built by hand are live objects."""
    if isinstance(setting, list | tuple):
        return all(_told(item) for item in setting)
    return setting is None or isinstance(setting, bool | int | float | str | dict)


def _differing_tensors(theirs: Mapping[str, Tensor], ours: Mapping[str, Tensor]) -> list[str]:
    there = {name: tuple(tensor.shape) for name, tensor in theirs.items()}
    here = {name: tuple(tensor.shape) for name, tensor in ours.items()}
    names = [*ours, *(name for name in theirs if name not in ours)]
    return [
        _mismatch(name, there.get(name, "missing"), here.get(name, "missing"))
        for name in names
        if there.get(name) != here.get(name)
    ]


def _mismatch(name: str, theirs: Any, ours: Any) -> str:
    return f"{name}: checkpoint has {theirs}, this model {ours}"


def _load_official(
    path: Path, content: dict[str, Tensor], rig: nn.Module, settings: Mapping[str, Any], schedule: NoiseSchedule
) -> None:
    encoders = [part for part in rig.modules() if isinstance(part, ResNetGlobalEncoder)]
    if not isinstance(rig.denoiser, ConditionedUNet) or len(encoders) != 1:
        raise ValueError(
            f"initial_weights: {path} is DiffusionRig's: expected a ConditionedUNet and one ResNetGlobalEncoder, "
            f"got {type(rig.denoiser).__name__} and {len(encoders)}"
        )
    linear = torch.equal(schedule.alphas_cumprod, LinearSchedule().alphas_cumprod)
    if settings["prediction_type"] != "eps" or not linear:
        raise ValueError(
            f"initial_weights: {path} is DiffusionRig's: expected prediction_type eps and LinearSchedule(), got "
            f"{settings['prediction_type']} and {schedule}"
        )
    try:
        load_diffusionrig(content, rig.denoiser, encoders[0])
    except ValueError as error:
        raise ValueError(f"initial_weights: {path} is of another config: {error}") from error
