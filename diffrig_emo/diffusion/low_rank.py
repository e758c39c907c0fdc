"""Low-rank adapters: a network learns a person in a few MB beside its own frozen weights.

Legend (Hu et al., "LoRA", 2022, eq. 3): a layer `W x` becomes `W x + (alpha / r) B A x`, where `A` maps to `r` numbers
and `B`, zero at first, back; for a convolution `A` has its kernel and `B` is 1x1. The layers are those of peft.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.utils.imports import require

TARGETS = ("conv1", "conv2", "time", "vectors", "qkv", "proj")
"""Layers of `ConditionedUNet` adapted by default: convolutions and modulation of residual blocks, and attention.

They hold 96 % of DiffusionRig's UNet; its convolutions alone hold 81 %, attention 5 %.
"""

FORMAT = "diffrig_emo low-rank adapter 1"


@dataclasses.dataclass(frozen=True)
class LowRankAdapter:
    """What to adapt, and by how much.

    Attributes:
        rank: r, width of the adapters' bottleneck.
        alpha: the adapters' outputs are multiplied by `alpha / rank`; None takes the rank, a factor of 1.
        targets: names of the layers to adapt, linear or convolutional, at any depth: "qkv" is every
            `....attention.qkv`, "vectors" every layer below a `vectors`.

    Raises:
        ValueError: when the rank or alpha is not positive, or there are no targets.

    Example:
        >>> import torch
        >>> from diffrig_emo.diffusion import ConditionedUNet
        >>> unet = ConditionedUNet(image_size=16, base_channels=16, channel_mult=(1, 2))
        >>> LowRankAdapter(rank=2, targets=("qkv", "proj")).attach(unet)
        >>> sum(p.numel() for p in unet.parameters() if p.requires_grad)
        384
    """

    rank: int = 4
    alpha: float | None = None
    targets: Sequence[str] = TARGETS

    def __post_init__(self) -> None:
        if self.rank < 1 or (self.alpha is not None and self.alpha <= 0):
            raise ValueError(f"LowRankAdapter: rank and alpha must be positive, got {self.rank} and {self.alpha}")
        if not self.targets:
            raise ValueError(f"LowRankAdapter: expected targets such as {', '.join(TARGETS)}, got none")

    def attach(self, network: nn.Module) -> None:
        """Freeze a network and put adapters into it, which change nothing until they are trained.

        Args:
            network: the network; its targeted layers are replaced in place.

        Raises:
            ImportError: when peft is not installed.
            ValueError: when it has adapters already, or a target names none of its layers.
        """
        peft = require("peft", purpose="LowRankAdapter", install='pip install "diffrig_emo[lora]"')
        _require_plain(network)
        names = sorted(self.layers(network))
        network.requires_grad_(False)
        alpha = self.rank if self.alpha is None else self.alpha
        config = peft.LoraConfig(r=self.rank, lora_alpha=alpha, target_modules=names)
        peft.inject_adapter_in_model(config, network)
        del network.peft_config  # all that this library needs is in the layers and in `low_rank_adapter`
        network.low_rank_adapter = self  # type: ignore[assignment]  # no module, a plain attribute

    def layers(self, network: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
        """The layers of a network to adapt, by name.

        Raises:
            ValueError: when a target names none of its layers.
        """
        found: dict[str, nn.Linear | nn.Conv2d] = {}
        for target in self.targets:
            named = {
                name: layer
                for name, layer in network.named_modules()
                if target in name.split(".") and isinstance(layer, nn.Linear | nn.Conv2d)
            }
            if not named:
                raise ValueError(
                    f"LowRankAdapter: targets: {type(network).__name__} has no linear or convolutional layer named "
                    f"{target!r}"
                )
            found |= named
        return found


def adapter_state(network: nn.Module) -> dict[str, Tensor]:
    """The adapters' weights, named `LAYER.lora_A.weight` and `LAYER.lora_B.weight`.

    Args:
        network: a network with adapters.

    Raises:
        ValueError: when it has none.
    """
    parts = {
        f"{name}.{part}.weight": getattr(layer, part)["default"].weight
        for name, layer in _adapted_layers(network).items()
        for part in ("lora_A", "lora_B")
    }
    if not parts:
        raise ValueError(f"{type(network).__name__} has no low-rank adapters; LowRankAdapter().attach adds them")
    return parts


def save_adapter(path: str | Path, network: nn.Module) -> None:
    """Write the adapters of a network, and nothing else of it, to a `.safetensors` file.

    Raises:
        ValueError: when the network has none.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in adapter_state(network).items()}
    adapter: Any = network.low_rank_adapter
    with atomic_path(path) as file:
        save_file(state, file, {"format": FORMAT, "adapter": json.dumps(dataclasses.asdict(adapter))})


def load_adapter(path: str | Path, network: nn.Module) -> None:
    """Attach the adapters of a file to a network.

    Args:
        path: what `save_adapter` wrote.
        network: a network of the same sizes, without adapters; its weights should be those the adapters learned on.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged, no adapter, or one for another network; the network is then untouched.
    """
    adapter, state = _read(Path(path))
    _require_plain(network)
    try:
        wanted = _shapes(adapter, network)
    except ValueError as error:
        raise ValueError(f"{path} adapts another network: {error}") from error
    for name in sorted(wanted.keys() | state.keys()):
        theirs = tuple(state[name].shape) if name in state else "missing"
        mine = wanted.get(name, "missing")
        if theirs != mine:
            raise ValueError(
                f"{path} adapts another network: {name} is {theirs} in the file, but {mine} for this "
                f"{type(network).__name__}; give the model that the adapter was trained on"
            )
    adapter.attach(network)
    for name, weight in adapter_state(network).items():
        weight.data.copy_(state[name])


def merge_adapter(network: nn.Module) -> None:
    """Fold the adapters into the network's own weights: layers and names are then as before they were attached.

    Args:
        network: a network with adapters; its weights stay frozen.

    Raises:
        ValueError: when it has none.
    """
    adapter_state(network)
    for name, layer in _adapted_layers(network).items():
        layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(network.get_submodule(parent), own, layer.get_base_layer())
    del network.low_rank_adapter


def _require_plain(network: nn.Module) -> None:
    if _adapted_layers(network):
        raise ValueError(f"{type(network).__name__} has low-rank adapters already; fold them in by merge_adapter")


def _adapted_layers(network: nn.Module) -> dict[str, Any]:
    return {name: layer for name, layer in network.named_modules() if hasattr(layer, "lora_A")}


def _shapes(adapter: LowRankAdapter, network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor of `adapter_state`, were the adapter attached."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in adapter.layers(network).items():
        outputs, inputs, *kernel = layer.weight.shape
        shapes[f"{name}.lora_A.weight"] = (adapter.rank, inputs, *kernel)
        shapes[f"{name}.lora_B.weight"] = (outputs, adapter.rank, *[1] * len(kernel))
    return shapes


def _read(path: Path) -> tuple[LowRankAdapter, dict[str, Tensor]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a low-rank adapter (.safetensors), but there is no such file")
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except SafetensorError as error:
        raise ValueError(f"{path} cannot be read as a low-rank adapter: torn, or another file ({error})") from error
    if about.get("format") != FORMAT:
        raise ValueError(f"{path}: expected a low-rank adapter of format {FORMAT!r}, got {about.get('format')!r}")
    return LowRankAdapter(**json.loads(about["adapter"])), state
