"""Modules whose weights are licensed files: frozen, and in nobody's checkpoint but the authors'."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def keep_out_of_checkpoints(module: nn.Module) -> None:
    """Freeze a module and keep its tensors out of every state dict, its own and those of modules around it.

    Such a module reads its weights at construction, from files that may not be passed on. A state dict without
    them then loads strictly; one that has them, loads them.

    Args:
        module: any module, complete: what is added to it later is not frozen.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> keep_out_of_checkpoints(net[0])
        >>> list(net.state_dict())
        ['1.weight', '1.bias']
        >>> net.load_state_dict(net.state_dict())
        <All keys matched successfully>
    """
    module.requires_grad_(False)
    # Public under these names without the underscore since PyTorch 2.5.
    module._register_state_dict_hook(_leave_out)
    module._register_load_state_dict_pre_hook(_put_back, with_module=True)


def _leave_out(module: nn.Module, state_dict: dict[str, Any], prefix: str, _metadata: object) -> None:
    for name in [name for name in state_dict if name.startswith(prefix)]:
        del state_dict[name]


def _put_back(module: nn.Module, state_dict: dict[str, Any], prefix: str, *_: object) -> None:
    """Fill in our own tensors, so that none counts as missing."""
    for name, tensor in _stored(module):
        state_dict.setdefault(prefix + name, tensor)


def _stored(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What `state_dict` would hold."""
    yield from module.named_parameters(remove_duplicate=False)
    for path, part in module.named_modules(remove_duplicate=False):
        for name, buffer in part.named_buffers(path, recurse=False):
            if name.rpartition(".")[2] not in part._non_persistent_buffers_set:
                yield name, buffer
