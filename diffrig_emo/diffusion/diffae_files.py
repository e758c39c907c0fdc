"""Diffusion Autoencoders' files (`ffhq256_autoenc/last.ckpt` and its kin) to our modules and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from diffrig_emo.diffusion.diffae_kinds import describe_file
from diffrig_emo.diffusion.recognition import RecognisedUNet, UnrecognisedError, channel_mult, recognise_unet
from diffrig_emo.diffusion.semantic_encoder import SemanticEncoder
from diffrig_emo.diffusion.state_dicts import export_diffae, load_diffae
from diffrig_emo.diffusion.unet import ConditionedUNet, VectorModulation
from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.checkpoints import read_weights

_ATTENDED = 16
"""Side in pixels of the feature maps with attention, in every official size."""

_GIVE = "give an `*_autoenc/last.ckpt` of Diffusion Autoencoders"
_BESIDE = ("model.", "x_T", "conds_mean", "conds_std", "latent_net.", "ema_model.latent_net.")
"""What official files hold beside the averaged autoencoder: raw weights, a noise for their log, the latent prior."""


def read_diffae(
    path: str | Path, *, num_heads: int = 1, dropout: float = 0.1
) -> tuple[ConditionedUNet, SemanticEncoder]:
    """Read a diffusion autoencoder, with or without its latent prior, which is left in the file.

    Width, levels, residual blocks, attention and size of the code are recognised from the shapes in the file. The
    weights are the averaged ones (`ema_model.*`), as in all the original's inference. The UNet expects, as
    `Conditioning`, one vector named "semantic", and predicts eps under `LinearSchedule`.

    Args:
        path: a `.ckpt` file as the original writes it; or a `.safetensors` or `.pt` file of the averaged network, with
            or without the prefix.
        num_heads: attention heads; not visible in a file, officially 1.
        dropout: dropout of the UNet when it is trained on; not visible in a file, officially 0.1.

    Returns:
        The UNet and the semantic encoder in float32 on the CPU, in training mode as every new module: call `.eval()`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is truncated, is another one (its classifier's, a plain DDIM's, DiffusionRig's, ...),
            or has tensors missing, left over or of another shape; the message says so by component.
    """
    path = Path(path)
    official = _read_official(path)
    try:
        with torch.device("meta"):  # 168.5 M parameters are not drawn at random just to be replaced
            unet_settings, encoder_settings = _settings(official)
            unet = ConditionedUNet(**unet_settings, num_heads=num_heads, dropout=dropout)
            encoder = SemanticEncoder(**encoder_settings, num_heads=num_heads)
        load_diffae(official, unet, encoder)
    except UnrecognisedError as error:
        raise ValueError(
            f"{path}: expected a complete diffusion autoencoder, got one with an unknown {error}. Download the file "
            "again, or check with which settings it was trained"
        ) from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}. Download the file again, or check who wrote it") from error
    return unet, encoder


def write_diffae(path: str | Path, unet: ConditionedUNet, encoder: SemanticEncoder) -> None:
    """Write an autoencoder as the original does, for its code to load; the file appears when it is complete.

    Vectors behind the first (an expression, for instance) are left out: the original then paints what this model paints
    without them. It always predicts eps under the linear schedule and has no flag for anything else.

    Args:
        path: a `.ckpt` file: the weights stand under `model.*` and `ema_model.*`, stored once; or a `.safetensors` file
            of `ema_model.*` alone, for everything but the original code.
        unet: the denoiser.
        encoder: the semantic encoder.

    Raises:
        ValueError: when the original code could not build such a model, saying every reason; nothing is written.
    """
    path = Path(path)
    problems = _obstacles(unet, encoder)
    if problems:
        raise ValueError(
            f"{path}: the original Diffusion Autoencoders cannot load this model: {'; '.join(problems)}. Keep it as a "
            "checkpoint of ours, or train one with `diffae_256.yaml`'s settings"
        )
    exported = export_diffae(unet, encoder)
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in exported.items()}
    state = {f"ema_model.{name}": tensor for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        if path.suffix == ".safetensors":
            save_file(state, temporary)
        else:
            raw = {f"model.{name}": tensor for name, tensor in tensors.items()}
            torch.save({"state_dict": raw | state, "global_step": 0, "epoch": 0}, temporary)


def _settings(official: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of `ConditionedUNet` and `SemanticEncoder`, but for what shapes do not show."""
    shapes = {_guided_name(name): tuple(tensor.shape) for name, tensor in official.items()}
    found = recognise_unet({n: shape for n, shape in shapes.items() if not n.startswith("encoder.")})
    if found.stem_inputs != 3 or found.outputs != 3:
        raise UnrecognisedError(f"UNet: it turns {found.stem_inputs} channels into {found.outputs}, wanted 3 into 3")
    image_size = _image_size(found)
    unet = {
        "vectors": [VectorModulation("semantic", found.vector_dim, found.vector_shift)],
        **found.settings(image_size),
    }
    return unet, _encoder_settings(shapes, found.num_res_blocks, image_size)


def _encoder_settings(shapes: Mapping[str, tuple[int, ...]], num_res_blocks: int, image_size: int) -> dict[str, Any]:
    prefix = "encoder."
    own = {n.removeprefix(prefix): shape for n, shape in shapes.items() if n.startswith(prefix)}
    blocks = {int(n.split(".")[1]) for n in own if n.startswith("input_blocks.")}
    per_level = num_res_blocks + 1  # the stem, or a downsampling block, precedes the residual blocks of each level
    try:
        base = own["input_blocks.0.0.weight"][0]
        widths = [own[f"input_blocks.{i}.0.in_layers.2.weight"][0] for i in range(1, len(blocks), per_level)]
        dim = own["out.3.weight"][0]
    except KeyError as error:
        raise UnrecognisedError(f"encoder: {prefix}{error.args[0]} is missing") from error
    attended = {(i - 1) // per_level for i in blocks if f"input_blocks.{i}.1.qkv.weight" in own}
    return {
        "image_size": image_size,
        "base_channels": base,
        "channel_mult": channel_mult(widths, base),
        "num_res_blocks": num_res_blocks,
        "attention_resolutions": [image_size >> level for level in sorted(attended)],
        "dim": dim,
    }


def _image_size(found: RecognisedUNet) -> int:
    """The only size at which attention lies where it officially does; 8x8 at the coarsest where there is none."""
    if len(found.attended_levels) == 1:
        return _ATTENDED << found.attended_levels[0]
    return _ATTENDED // 2 << (len(found.widths) - 1)


def _obstacles(unet: ConditionedUNet, encoder: SemanticEncoder) -> list[str]:
    """Why the original code could not build this model; nothing when it can."""
    if not unet.vectors:
        return ["its UNet has a vector, the semantic code, this one none"]
    problems = []
    vector = unet.vectors[0]
    if unet.patch_size != 1:
        problems.append(f"it has no patch_size, this one folds patches of {unet.patch_size}")
    if vector.shift:
        problems.append(f"its vector only scales, {vector.name!r} also shifts")
    if vector.dim != encoder.dim:
        problems.append(f"the UNet takes a vector of {vector.dim}, the encoder gives {encoder.dim}")
    if (unet.in_channels, unet.spatial_channels) != (3, 0):
        problems.append(f"it takes 3 channels, this one {unet.in_channels} + {unet.spatial_channels}")
    if problems:
        return problems
    try:
        settings, own = _settings(export_diffae(unet, encoder))
    except UnrecognisedError as error:
        return [str(error)]
    widths = {"UNet": settings, "encoder": own}
    for name, part in widths.items():
        if part["attention_resolutions"] != [_ATTENDED]:
            problems.append(f"attention of its {name} lies at {_ATTENDED}x{_ATTENDED} pixels alone, here it does not")
        if any(m != int(m) for m in part["channel_mult"]):
            shown = [round(m, 3) for m in part["channel_mult"]]
            problems.append(f"the {name}'s channel_mult are whole numbers, these are {shown}")
    if own["base_channels"] % settings["base_channels"]:
        problems.append(
            f"UNet and encoder have one base width, these have {settings['base_channels']} and {own['base_channels']}"
        )
    if encoder.image_size != settings["image_size"]:
        problems.append(
            f"the UNet is one for pictures of {settings['image_size']} pixels, the encoder for {encoder.image_size}"
        )
    return problems


def _read_official(path: Path) -> dict[str, Tensor]:
    """The averaged autoencoder's tensors under their bare names."""
    content = read_weights(path)
    state = content.get("state_dict", content)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a diffusion autoencoder, got {describe_file(content, _GIVE)}")
    official = {n.removeprefix("ema_model."): tensor for n, tensor in state.items() if not n.startswith(_BESIDE)}
    if "time_embed.time_embed.0.weight" not in official or "encoder.input_blocks.0.0.weight" not in official:
        raise ValueError(f"{path}: expected a diffusion autoencoder, got {describe_file(content, _GIVE)}")
    # Copies, because these tensors are still the file's own bytes, which somebody may overwrite.
    return {name: tensor.to(torch.float32, copy=True) for name, tensor in official.items()}


def _guided_name(name: str) -> str:
    return name.replace("time_embed.time_embed.", "time_embed.", 1)
