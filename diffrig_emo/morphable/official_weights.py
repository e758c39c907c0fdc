"""Weights of DECA and EMOCA by component, whichever of the authors' files they come in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from diffrig_emo.io.checkpoints import read_weights

COMPONENTS = ("E_flame", "E_expression", "E_detail", "D_detail")
"""Networks of DECA and EMOCA, as their authors call them."""
_SHOWN = 3


@dataclasses.dataclass(frozen=True)
class OfficialWeights:
    """Tensors of one file, sorted by component."""

    path: Path
    kind: str
    """What the file is, in words, such as "EMOCA's checkpoint"."""
    components: Mapping[str, Mapping[str, Tensor]]
    """Names within each component that the file has, without its prefix."""

    def load_into(self, networks: Mapping[str, nn.Module]) -> None:
        """Give networks their weights; names and shapes must be exactly those of the file.

        Args:
            networks: the network for each component, possibly on the meta device.

        Raises:
            ValueError: naming per component what is missing, left over or of another shape; nothing is then loaded.
        """
        wanted = {name: network.state_dict() for name, network in networks.items()}
        problems = {name: _differences(wanted[name], self.components.get(name, {})) for name in networks}
        if any(problems.values()):
            found = "; ".join(f"{name}: {problem}" for name, problem in problems.items() if problem)
            raise ValueError(
                f"{self.path}: {self.kind} does not hold the expected networks. {found}. The file is incomplete or of "
                "another version; download it again from its official place."
            )
        for name, network in networks.items():
            # Copies, because what was read may be mapped from the file.
            copies = {key: tensor.clone().to(wanted[name][key].dtype) for key, tensor in self.components[name].items()}
            network.load_state_dict(copies, strict=True, assign=True)


def read_official(path: Path) -> OfficialWeights:
    """Read `deca_model.tar`, a checkpoint of EMOCA, or what `diffrig-emo convert` made of either.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is truncated, tries to run code, or is neither DECA's nor EMOCA's.
    """
    content = read_weights(path)
    state = content.get("state_dict", content)
    names = _flat(state) if isinstance(state, Mapping) else {}
    # EMOCA's are those of a LightningModule, whose attribute `deca` holds the networks.
    lightning = any(name.startswith("deca.E_flame.") for name in names)
    if lightning:
        names = {name.removeprefix("deca."): tensor for name, tensor in names.items() if name.startswith("deca.")}
    components: dict[str, dict[str, Tensor]] = {}
    for name, tensor in names.items():
        component, _, rest = name.partition(".")
        if component in COMPONENTS:
            components.setdefault(component, {})[rest] = tensor
    if "E_expression" in components:
        kind = "EMOCA's checkpoint"
    elif components:
        kind = "DECA's file"
    else:
        raise ValueError(f"{path}: expected weights of DECA or EMOCA, got {_describe(content, names)}")
    return OfficialWeights(path, kind, components)


def _flat(state: Mapping[Any, Any]) -> dict[str, Tensor]:
    """Tensors under dotted names: DECA's file has one dictionary per component."""
    flat: dict[str, Tensor] = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            flat[str(name)] = value
        elif isinstance(value, Mapping) and name in COMPONENTS:
            flat |= {f"{name}.{inner}": tensor for inner, tensor in value.items() if isinstance(tensor, Tensor)}
    return flat


def _differences(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    if not given:
        return "absent"
    mis_sized = [
        f"{name} is {tuple(given[name].shape)}, wanted {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in given and given[name].shape != tensor.shape
    ]
    kinds = {
        "missing": [name for name in wanted if name not in given],
        "unexpected": [name for name in given if name not in wanted],
        "mis-sized": mis_sized,
    }
    return ", ".join(f"{len(found)} {kind} ({_some(found)})" for kind, found in kinds.items() if found)


def _describe(content: Mapping[Any, Any], names: Mapping[str, Tensor]) -> str:
    if any(name.startswith("denoisingUNet.") for name in names):
        return (
            "a model of DiffusionRig, which has no encoder of codes; DiffusionRig takes its codes from DECA: give "
            "deca_model.tar here, and this file where a denoiser is wanted"
        )
    if "state_dict" in content:
        return f"a checkpoint of another model, with {_some(list(names)) or 'no tensors'}"
    return f"a file with {_some([str(name) for name in content]) or 'nothing in it'}"


def _some(found: list[str]) -> str:
    return ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
