"""Names of DiffusionRig's official checkpoints (`model050000.pt`), to and from ours.

An official file is one flat state dict, `denoisingUNet.*` and `encoder.*`. The UNet's names are those of Dhariwal and
Nichol's guided diffusion; the encoder's are torchvision's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from diffrig_emo.diffusion.global_encoder import ResNetGlobalEncoder
from diffrig_emo.diffusion.unet import ConditionedUNet

_OUTER = {
    "time_embed.linear1": "time_embed.0",
    "time_embed.linear2": "time_embed.2",
    "stem": "input_blocks.0.0",
    "head_norm": "out.0",
    "head_conv": "out.2",
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
    ours = _states(unet, encoder)
    names = diffusionrig_names(unet, encoder)
    _require_fit(official, {theirs: _official_shape(name, ours[name]) for name, theirs in names.items()})
    states: dict[str, dict[str, Tensor]] = {"unet": {}, "encoder": {}}
    for name, theirs in names.items():
        part, _, rest = name.partition(".")
        states[part][rest] = official[theirs].reshape(ours[name].shape)
    for part, module in (("unet", unet), ("encoder", encoder)):
        module.load_state_dict(states[part], assign=any(p.is_meta for p in module.parameters()))


def export_diffusionrig(unet: ConditionedUNet, encoder: ResNetGlobalEncoder) -> dict[str, Tensor]:
    """Our weights under the official names and shapes, for the official code to load strictly."""
    ours = _states(unet, encoder)
    names = diffusionrig_names(unet, encoder)
    return {theirs: ours[name].reshape(_official_shape(name, ours[name])) for name, theirs in names.items()}


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


def _states(unet: ConditionedUNet, encoder: ResNetGlobalEncoder) -> dict[str, Tensor]:
    states = {"unet": unet.state_dict(), "encoder": encoder.state_dict()}
    return {f"{part}.{name}": tensor for part, state in states.items() for name, tensor in state.items()}


def _official_shape(name: str, tensor: Tensor) -> tuple[int, ...]:
    # Attention's linear maps are one-dimensional convolutions there.
    is_convolution = name.startswith("unet.") and name.endswith(("attention.qkv.weight", "attention.proj.weight"))
    return (*tensor.shape, 1) if is_convolution else tuple(tensor.shape)


def _require_fit(official: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> None:
    complaints = []
    for component, prefix in (("encoder", "encoder."), ("UNet", "denoisingUNet.")):
        mine = {name: shape for name, shape in wanted.items() if name.startswith(prefix)}
        theirs = {name: tuple(tensor.shape) for name, tensor in official.items() if name.startswith(prefix)}
        problems = {
            "missing": [name for name in mine if name not in theirs],
            "unexpected": [name for name in theirs if name not in mine],
            "mis-sized": [
                f"{name} is {theirs[name]}, wanted {shape}"
                for name, shape in mine.items()
                if theirs.get(name, shape) != shape
            ],
        }
        parts = [f"{len(found)} {kind} ({_some(found)})" for kind, found in problems.items() if found]
        complaints += [f"{component}: {', '.join(parts)}"] if parts else []
    others = [name for name in official if not name.startswith(("encoder.", "denoisingUNet."))]
    complaints += [f"neither: {len(others)} unexpected ({_some(others)})"] if others else []
    if complaints:
        raise ValueError("the checkpoint does not fit these modules: " + "; ".join(complaints))


def _some(found: list[str]) -> str:
    return ", ".join(found[:4]) + (", ..." if len(found) > 4 else "")
