"""Names of official checkpoints, to and from ours.

DiffusionRig's (`model050000.pt`) are one flat state dict, `denoisingUNet.*` and `encoder.*`: the UNet's names are those
of Dhariwal and Nichol's guided diffusion, the encoder's torchvision's. Diffusion Autoencoders' have guided diffusion's
names throughout, the encoder's behind `encoder.`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from diffrig_emo.diffusion.global_encoder import ResNetGlobalEncoder
from diffrig_emo.diffusion.latent_mlp import LatentMLP
from diffrig_emo.diffusion.semantic_encoder import SemanticEncoder
from diffrig_emo.diffusion.unet import ConditionedUNet

_OUTER = {
    "time_embed.linear1": "time_embed.0",
    "time_embed.linear2": "time_embed.2",
    "stem": "input_blocks.0.0",
    "head_norm": "out.0",
    "head_conv": "out.2",
    "head_linear": "out.3",
}
_INNER = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time": "emb_layers.1",
    "vectors": "cond_emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "skip": "skip_connection",
    "norm": "norm",
    "qkv": "qkv",
    "proj": "proj_out",
}


def load_diffusionrig(official: Mapping[str, Tensor], unet: ConditionedUNet, encoder: ResNetGlobalEncoder) -> None:
    """Copy an official checkpoint into our modules; nothing may be left over on either side.

    Args:
        official: the official state dict.
        unet: a UNet of the checkpoint's size, with one vector; on the meta device it takes the official tensors
            themselves, without a copy.
        encoder: a ResNet encoder of the checkpoint's kind; likewise.

    Raises:
        ValueError: when names are missing or left over, or a tensor has another shape, told by component; the modules
            are then untouched.
    """
    components = {"encoder": "encoder.", "UNet": "denoisingUNet."}
    _load(official, {"unet": unet, "encoder": encoder}, diffusionrig_names(unet, encoder), components)


def export_diffusionrig(unet: ConditionedUNet, encoder: ResNetGlobalEncoder) -> dict[str, Tensor]:
    """Our weights under the official names and shapes, for the official code to load strictly."""
    return _export({"unet": unet, "encoder": encoder}, diffusionrig_names(unet, encoder))


def diffusionrig_names(unet: ConditionedUNet, encoder: ResNetGlobalEncoder) -> dict[str, str]:
    """Official name of each of our tensors, ours being prefixed by `unet.` or `encoder.`.

    Raises:
        ValueError: when the UNet has not exactly one vector, as DiffusionRig has.
    """
    if len(unet.vectors) != 1:
        raise ValueError(f"DiffusionRig's UNet has one vector, this one has {[v.name for v in unet.vectors]}")
    ours = unet.state_dict().keys()
    names = {f"unet.{name}": f"denoisingUNet.{guided_diffusion_name(name, ours)}" for name in ours}
    return names | {f"encoder.{n}": f"encoder.{n.removeprefix('backbone.')}" for n in encoder.state_dict()}


def load_diffae(official: Mapping[str, Tensor], unet: ConditionedUNet, encoder: SemanticEncoder) -> None:
    """Copy Diffusion Autoencoders' official weights into our modules; nothing may be left over on either side.

    Args:
        official: the bare names of the network: without `ema_model.`, and without `latent_net.*`.
        unet: a UNet of the checkpoint's size; vectors behind its first, unknown to the checkpoint, keep their weights.
        encoder: an encoder of the checkpoint's size. Modules on the meta device take the official tensors themselves.

    Raises:
        ValueError: when names are missing or left over, or a tensor has another shape, told by component; the modules
            are then untouched.
    """
    components = {"encoder": "encoder.", "UNet": ""}
    _load(official, {"unet": unet, "encoder": encoder}, diffae_names(unet, encoder), components)


def load_diffae_encoder(official: Mapping[str, Tensor], encoder: SemanticEncoder) -> None:
    """Copy the official semantic encoder alone; nothing of it may be left over on either side.

    Args:
        official: the `encoder.*` of the bare network.
        encoder: an encoder of the checkpoint's size.

    Raises:
        ValueError: when names are missing or left over, or a tensor has another shape; nothing is then changed.
    """
    theirs = encoder.state_dict()
    names = {f"encoder.{name}": f"encoder.{guided_diffusion_name(name, theirs)}" for name in theirs}
    _load(official, {"encoder": encoder}, names, {"encoder": "encoder."})


def load_diffae_prior(official: Mapping[str, Tensor], network: LatentMLP) -> None:
    """Copy the official latent prior into our network; nothing may be left over on either side.

    The scales by time are in the file under two names, `linear_emb` and `cond_layers.1`, which are one tensor there.
    Where somebody made them differ, the latter counts, as in the original.

    Args:
        official: its `latent_net.*`, without that prefix.
        network: a network of the checkpoint's size.

    Raises:
        ValueError: when names are missing or left over, or a tensor has another shape; nothing is then changed.
    """
    aliases = {n: n.replace(".linear_emb.", ".cond_layers.1.") for n in official if ".linear_emb." in n}
    lacking = sorted(twin for twin in aliases.values() if twin not in official)
    if lacking:
        raise ValueError(
            f"the checkpoint does not fit these modules: latent prior: {len(lacking)} missing ({lacking[0]})"
        )
    official = {name: tensor for name, tensor in official.items() if name not in aliases}
    _load(official, {"prior": network}, latent_prior_names(network), {"latent prior": ""})


def latent_prior_names(network: LatentMLP) -> dict[str, str]:
    """Official name of each of our tensors, ours being prefixed by `prior.`."""
    renamed = {
        "time_embed.linear1": "time_embed.0",
        "time_embed.linear2": "time_embed.2",
        "head": f"layers.{len(network.layers)}.linear",
    }
    names = {}
    for name in network.state_dict():
        module, _, leaf = name.rpartition(".")
        theirs = renamed.get(module, module.replace(".time", ".cond_layers.1"))
        names[f"prior.{name}"] = f"{theirs}.{leaf}"
    return names


def export_diffae(unet: ConditionedUNet, encoder: SemanticEncoder) -> dict[str, Tensor]:
    """Our weights under Diffusion Autoencoders' official names and shapes; vectors behind the first are left out."""
    return _export({"unet": unet, "encoder": encoder}, diffae_names(unet, encoder))


def diffae_names(unet: ConditionedUNet, encoder: SemanticEncoder) -> dict[str, str]:
    """Official name of each of our tensors, ours being prefixed by `unet.` or `encoder.`.

    The UNet's first vector is the semantic code; the layers of further ones have no official name.

    Raises:
        ValueError: when the UNet has no vector.
    """
    if not unet.vectors:
        raise ValueError("Diffusion Autoencoders' UNet has a vector, the semantic code; this one has none")
    further = tuple(f".vectors.{vector.name}." for vector in unet.vectors[1:])
    ours = [name for name in unet.state_dict() if not any(part in name for part in further)]
    names = {f"unet.{name}": guided_diffusion_name(name, ours) for name in ours}
    # The time embedding is wrapped once more there.
    names = {n: f"time_embed.{theirs}" if theirs.startswith("time_embed.") else theirs for n, theirs in names.items()}
    theirs = encoder.state_dict()
    return names | {f"encoder.{name}": f"encoder.{guided_diffusion_name(name, theirs)}" for name in theirs}


def guided_diffusion_name(name: str, names: Iterable[str]) -> str:
    """Translate one name of our UNet's state dict.

    Args:
        name: name of ours.
        names: all names of that state dict: where an upsampling block lies depends on whether attention precedes it.

    Example:
        >>> guided_diffusion_name("up_blocks.5.upsample.conv1.weight", ["up_blocks.5.attention.qkv.weight"])
        'output_blocks.5.2.in_layers.2.weight'
    """
    module, _, leaf = name.rpartition(".")
    if module in _OUTER:
        return f"{_OUTER[module]}.{leaf}"
    side, number, part, layer, *_ = name.split(".")
    inner = f"{_INNER[layer]}.{leaf}"
    place = {"residual": 0, "attention": 1, "upsample": 1}[part]
    if side == "middle_blocks":
        return f"middle_block.{2 * int(number) + place}.{inner}"
    if side == "down_blocks":
        return f"input_blocks.{int(number) + 1}.{place}.{inner}"
    if part == "upsample" and any(other.startswith(f"{side}.{number}.attention.") for other in names):
        place = 2
    return f"output_blocks.{number}.{place}.{inner}"


def _load(
    official: Mapping[str, Tensor],
    modules: Mapping[str, nn.Module],
    names: Mapping[str, str],
    components: Mapping[str, str],
) -> None:
    """Copy official tensors into modules, given the official name of each of theirs."""
    ours = _states(modules)
    _require_fit(official, {theirs: _official_shape(name, ours[name]) for name, theirs in names.items()}, components)
    for part, module in modules.items():
        state = module.state_dict()
        for name in state:
            theirs = names.get(f"{part}.{name}")
            if theirs is not None:
                state[name] = official[theirs].reshape(state[name].shape)
        module.load_state_dict(state, assign=any(p.is_meta for p in module.parameters()))


def _export(modules: Mapping[str, nn.Module], names: Mapping[str, str]) -> dict[str, Tensor]:
    ours = _states(modules)
    return {theirs: ours[name].reshape(_official_shape(name, ours[name])) for name, theirs in names.items()}


def _states(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{part}.{name}": tensor for part, m in modules.items() for name, tensor in m.state_dict().items()}


def _official_shape(name: str, tensor: Tensor) -> tuple[int, ...]:
    # Linear maps of pixels are convolutions there: one-dimensional ones in attention, a two-dimensional one at the end.
    if name.endswith(("attention.qkv.weight", "attention.proj.weight")):
        return (*tensor.shape, 1)
    return (*tensor.shape, 1, 1) if name.endswith("head_linear.weight") else tuple(tensor.shape)


def _require_fit(
    official: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], components: Mapping[str, str]
) -> None:
    """Compare names and shapes by component; a name belongs to the first whose prefix it has."""

    def component(name: str) -> str | None:
        return next((c for c, prefix in components.items() if name.startswith(prefix)), None)

    complaints = []
    for name in components:
        mine = {n: shape for n, shape in wanted.items() if component(n) == name}
        theirs = {n: tuple(tensor.shape) for n, tensor in official.items() if component(n) == name}
        problems = {
            "missing": [n for n in mine if n not in theirs],
            "unexpected": [n for n in theirs if n not in mine],
            "mis-sized": [
                f"{n} is {theirs[n]}, wanted {shape}" for n, shape in mine.items() if theirs.get(n, shape) != shape
            ],
        }
        parts = [f"{len(found)} {kind} ({_some(found)})" for kind, found in problems.items() if found]
        complaints += [f"{name}: {', '.join(parts)}"] if parts else []
    others = [n for n in official if component(n) is None]
    complaints += [f"neither: {len(others)} unexpected ({_some(others)})"] if others else []
    if complaints:
        raise ValueError("the checkpoint does not fit these modules: " + "; ".join(complaints))


def _some(found: list[str]) -> str:
    return ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
