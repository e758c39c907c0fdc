"""DiffusionRig's files (`model050000.pt`, `model005000.pt` of an album) to our modules and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from diffrig_emo.diffusion.global_encoder import ResNet18GlobalEncoder, ResNet50GlobalEncoder, ResNetGlobalEncoder
from diffrig_emo.diffusion.recognition import UnrecognisedError, recognise_unet
from diffrig_emo.diffusion.state_dicts import export_diffusionrig, load_diffusionrig
from diffrig_emo.diffusion.unet import ConditionedUNet, VectorModulation
from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.checkpoints import read_weights

_COARSEST = 8
"""Side in pixels of the smallest feature maps in every official size: 64, 128, 256 and 512 pixels differ by levels."""

_ENCODERS: dict[tuple[bool, tuple[int, ...]], type[ResNet18GlobalEncoder] | type[ResNet50GlobalEncoder]] = {
    (False, (2, 2, 2, 2)): ResNet18GlobalEncoder,
    (True, (3, 4, 6, 3)): ResNet50GlobalEncoder,
}
"""By whether the blocks are bottlenecks, and by their number in each layer."""


def read_diffusionrig(
    path: str | Path, *, num_heads: int = 1, dropout: float = 0.1
) -> tuple[ConditionedUNet, ResNetGlobalEncoder]:
    """Read a DiffusionRig or DiffusionRig-EMO model, of either training stage.

    Width, levels, residual blocks, attention, size of the global code and the kind of encoder are recognised from the
    shapes in the file. The model expects, as `Conditioning`, the nine buffer channels and one vector named "global",
    predicts eps under `LinearSchedule`, and paints pictures of `8 * unet.divisor` pixels a side (256 officially).

    Args:
        path: a `.pt` file as the original writes it, or a `.safetensors` file of the same names. A `module.` prefix,
            left by `DistributedDataParallel`, is dropped.
        num_heads: attention heads; not visible in a file, officially 1.
        dropout: dropout of the UNet when it is trained on; not visible in a file, officially 0.1.

    Returns:
        The UNet and the global encoder in float32 on the CPU, in training mode as every new module: call `.eval()`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is truncated, is another one (the optimizer's, DECA's, EMOCA's, ...), or has tensors
            missing, left over or of another shape; the message says so by component, with what to do.
    """
    path = Path(path)
    official = _read_official(path)
    try:
        with torch.device("meta"):  # 144.6 M parameters are not drawn at random just to be replaced
            unet = ConditionedUNet(**_unet_settings(official), num_heads=num_heads, dropout=dropout)
            encoder = _encoder(official)
        load_diffusionrig(official, unet, encoder)
    except UnrecognisedError as error:
        raise ValueError(
            f"{path}: expected a complete DiffusionRig model, got one with an unknown {error}. Download the file "
            "again, or check with which settings it was trained"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}. Download the file again, or check who wrote it") from error
    return unet, encoder


def write_diffusionrig(path: str | Path, unet: ConditionedUNet, encoder: ResNetGlobalEncoder) -> None:
    """Write a model as DiffusionRig does, for the original code to load; the file appears when it is complete.

    The original always predicts eps under the linear schedule and has no flag for anything else: a model trained to
    predict v or x_0 loads there and paints noise. Its training reads the step from the name, `model{step:06d}.pt`.

    Args:
        path: a `.pt` file (or `.safetensors`, for everything but the original code).
        unet: the denoiser.
        encoder: the global encoder, a ResNet-18 or ResNet-50.

    Raises:
        ValueError: when the original code could not build such a model, saying every reason; nothing is written.
    """
    path = Path(path)
    problems = _obstacles(unet, encoder)
    if problems:
        raise ValueError(
            f"{path}: the original DiffusionRig cannot load this model: {'; '.join(problems)}. Keep it as a checkpoint "
            "of ours, or train one with `diffusion_rig_256.yaml`'s settings"
        )
    tensors = {}
    for name, tensor in export_diffusionrig(unet, encoder).items():
        tensors[name] = (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
    with atomic_path(path) as temporary:
        if path.suffix == ".safetensors":
            save_file(tensors, temporary)
        else:
            torch.save(tensors, temporary)


def _unet_settings(official: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `ConditionedUNet`, but for what shapes do not show."""
    found = recognise_unet({name: tuple(tensor.shape) for name, tensor in official.items()}, "denoisingUNet.")
    if found.outputs != 3 or found.stem_inputs <= found.outputs:
        raise UnrecognisedError(
            f"UNet: it turns {found.stem_inputs} channels into {found.outputs}; wanted 3 of the picture and those of "
            "the buffers (officially 12) into 3, without learned variances"
        )
    return {
        "in_channels": found.outputs,
        "out_channels": found.outputs,
        "spatial_channels": found.stem_inputs - found.outputs,
        "vectors": [VectorModulation("global", found.vector_dim, found.vector_shift)],
        **found.settings(_COARSEST * 2 ** (len(found.widths) - 1)),
    }


def _encoder(official: Mapping[str, Tensor]) -> ResNetGlobalEncoder:
    blocks = [len({n.split(".")[2] for n in official if n.startswith(f"encoder.layer{i}.")}) for i in (1, 2, 3, 4)]
    kind = _ENCODERS.get(("encoder.layer1.0.conv3.weight" in official, tuple(blocks)))
    if kind is None or "encoder.fc.weight" not in official:
        raise UnrecognisedError(
            f"encoder: wanted a torchvision ResNet-18 or ResNet-50 with `encoder.fc`, got {blocks} blocks in its layers"
        )
    return kind(official["encoder.fc.weight"].shape[0])


def _obstacles(unet: ConditionedUNet, encoder: nn.Module) -> list[str]:
    """Why the original code could not build this model; nothing when it can."""
    if not isinstance(encoder, ResNetGlobalEncoder):
        return [f"its encoder is a torchvision ResNet-18 or ResNet-50, this one a {type(encoder).__name__}"]
    if len(unet.vectors) != 1:
        return [f"it has one vector, this one {[vector.name for vector in unet.vectors]}"]
    problems = []
    vector = unet.vectors[0]
    if unet.patch_size != 1:
        problems.append(f"it has no patch_size, this one folds patches of {unet.patch_size}")
    if not vector.shift:
        problems.append("its vector scales and shifts, this one only scales")
    if vector.dim != encoder.dim:
        problems.append(f"the UNet takes a vector of {vector.dim}, the encoder gives {encoder.dim}")
    if (unet.in_channels, unet.spatial_channels) != (3, 9):
        problems.append(f"it takes 3 + 9 channels, this one {unet.in_channels} + {unet.spatial_channels}")
    if problems:
        return problems
    try:
        official = export_diffusionrig(unet, encoder)
        settings = _unet_settings(official)
        _encoder(official)
    except UnrecognisedError as error:
        return [str(error)]
    base, mult = settings["base_channels"], tuple(settings["channel_mult"])
    if settings["time_embed_dim"] != 4 * base:
        problems.append(f"its time embedding has 4 * {base} numbers, this one {settings['time_embed_dim']}")
    if any(int(m * base) % 32 for m in mult):
        problems.append(f"its GroupNorm needs widths that 32 divides, these are {[int(m * base) for m in mult]}")
    official_512 = mult[0] == (0.5 * base + 0.25) / base and mult[1:] == (1, 1, 2, 2, 4, 4)
    if any(m != int(m) for m in mult) and not official_512:
        problems.append(f"its channel_mult are whole numbers, these are {[round(m, 3) for m in mult]}")
    return problems


def _read_official(path: Path) -> dict[str, Tensor]:
    content = read_weights(path)
    official = {str(name).removeprefix("module."): value for name, value in content.items()}
    components = {name.partition(".")[0] for name in official}
    if "denoisingUNet" not in components or not all(isinstance(value, Tensor) for value in official.values()):
        raise ValueError(f"{path}: expected a DiffusionRig model, got {_describe(content)}")
    # Copies, because these tensors are still the file's own bytes, which somebody may overwrite.
    return {n: v.to(torch.float32 if v.is_floating_point() else v.dtype, copy=True) for n, v in official.items()}


def _describe(content: Mapping[Any, Any]) -> str:
    """What another file is, and what to give instead."""
    names = set(map(str, content))
    if {"state", "param_groups"} <= names:
        return "an optimizer's state (`opt050000.pt`); give the `model050000.pt` beside it"
    if "E_flame" in names:
        return "DECA's `deca_model.tar`; it encodes photos, give a `model050000.pt` of DiffusionRig"
    if "state_dict" in names:
        weights = content["state_dict"] if isinstance(content["state_dict"], Mapping) else {}
        if any(str(name).startswith(("deca.", "E_expression", "E_flame")) for name in weights):
            return "EMOCA's checkpoint; it encodes photos, give a `model050000.pt` of DiffusionRig"
        return (
            "a Lightning checkpoint; load it with `load_from_checkpoint` of its module and write its UNet and encoder "
            "with `write_diffusionrig`"
        )
    some = ", ".join(sorted(names)[:4])
    return (
        f"a file without `denoisingUNet.*` ({len(names)} entries: {some}, ...); give a `model050000.pt` of DiffusionRig"
    )
