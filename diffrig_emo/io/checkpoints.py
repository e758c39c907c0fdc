"""Files of `torch.save`: read to the CPU without running what they may hold, torn ones named before any long work."""

from __future__ import annotations

import _compat_pickle
import collections
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from diffrig_emo.io.safe_pickle import RefusedPickleError

_DAMAGE = (
    pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError, OSError,
    OverflowError, MemoryError, RuntimeError, struct.error, SafetensorError,
)  # fmt: skip


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a Lightning checkpoint to the CPU, without running any code that it may hold.

    Args:
        path: the `.ckpt` file.

    Returns:
        Its content; weights are under `state_dict`.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when the file is torn, is no checkpoint, or holds more than plain values and tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"ckpt_path: expected a checkpoint file, but {path} does not exist. Training writes them to "
            "lightning_logs/version_*/checkpoints/ unless the config says otherwise."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"ckpt_path: {path} ({path.stat().st_size:,} bytes) cannot be read as a checkpoint: it is torn, or no "
            f"checkpoint. Take an earlier one, or train again. PyTorch says: {_first_line(error)}"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise ValueError(f"ckpt_path: expected a Lightning checkpoint with a state_dict, got {path} without one")
    return content


def read_weights(path: str | Path) -> dict[str, Any]:
    """Read anybody's `.tar`, `.pt`, `.pth`, `.ckpt` or `.safetensors` to the CPU, without running code from it.

    Where PyTorch's own `weights_only` reader refuses, because the file also holds objects of programs that are not
    here (Lightning 1.4 keys its callbacks by their classes), those objects come back as inert `Unread` ones.
    Both of `torch.save`'s formats are understood. Tensors of the newer one are mapped from the file, not read, so
    that optimizer states that nobody asks for cost nothing: copy what is kept.

    Args:
        path: the file.

    Returns:
        What was saved.

    Raises:
        FileNotFoundError: when there is no such file.
        RefusedPickleError: when the file wants to use a part of Python that no weights need, such as `os.system`.
        ValueError: when the file is truncated, is no file of weights, or holds something else than a dictionary.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected a file of weights, but there is none")
    try:
        content = _load(path)
    except RefusedPickleError as error:
        raise RefusedPickleError(
            f"{path}: refused, because {error}, which no weights need. This is not the expected file, or someone "
            "tampered with it; download it again from its official place"
        ) from error
    except _DAMAGE as error:
        raise ValueError(
            f"{path} ({path.stat().st_size:,} bytes) cannot be read as weights: it is truncated or damaged, or "
            f"another kind of file; download it again. PyTorch says: {_first_line(error)}"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a dictionary of weights, got {type(content).__name__}")
    return content


class Unread:
    """Stands for an object in a file whose program is not here; it takes whatever the file does to it."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def _take(self, *args: object) -> None:
        pass

    __setstate__ = __setitem__ = append = extend = add = _take


def load_part(module: nn.Module, path: str | Path, prefix: str, name: str) -> None:
    """Copy the weights of one part of a trained LightningModule into a part of the same build.

    Args:
        module: the part; its weights are replaced.
        path: Lightning checkpoint, or `.safetensors` with the part's own tensors.
        prefix: where the part stands in the checkpoint, such as "encoder".
        name: the argument that `path` came from, for messages.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged or of another build: the first mismatches are named, nothing is copied.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{name}: expected a trained checkpoint, but {path} does not exist")
    content = read_weights(path)
    state = content.get("state_dict", content)
    start = f"{prefix}."
    theirs = {key.removeprefix(start): tensor for key, tensor in state.items() if key.startswith(start)} or state
    ours = module.state_dict()
    shapes = [{key: tuple(tensor.shape) for key, tensor in tensors.items()} for tensors in (theirs, ours)]
    differing = [
        f"{key}: checkpoint has {shapes[0].get(key, 'nothing')}, this {prefix} {shapes[1].get(key, 'nothing')}"
        for key in {**ours, **theirs}
        if shapes[0].get(key) != shapes[1].get(key)
    ]
    if differing:
        raise ValueError(
            f"{name}: {path} is of another {prefix}: {'; '.join(differing[:4])}. "
            "Build it with the settings that it was trained with"
        )
    module.load_state_dict(theirs)


def _load(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    with path.open("rb") as file:
        mapped = file.read(4) == b"PK\x03\x04"  # the older format cannot be mapped
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError:
        # This module replaces the whole of pickle in torch.load: nothing but `find_class` below hands out functions.
        return torch.load(path, map_location="cpu", weights_only=False, mmap=mapped, pickle_module=_RestrictedPickle)


_ALLOWED = {
    ("builtins", "set"): set,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
}
# Modules of Python whose objects turn up in honest checkpoints, where they hold settings. They are not used either.
_HARMLESS = frozenset({"argparse", "collections", "copyreg", "datetime", "enum", "functools", "pathlib"})
_PLAIN = frozenset({"bytearray", "complex", "dict", "frozenset", "list", "object", "slice", "tuple"})


class _RestrictedUnpickler(pickle.Unpickler):
    """Gives tensors, and `Unread` for all else. `torch.load` finds the classes of storages before it asks here."""

    def find_class(self, module: str, name: str) -> Any:
        # Names of Python 2, which pickles up to protocol 2 are written with.
        module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        top = module.partition(".")[0]
        plain = top == "builtins" and name in _PLAIN
        if top in sys.stdlib_module_names and top not in _HARMLESS and not plain:
            raise RefusedPickleError(f"it wants to use {module}.{name}")
        return type(name.rpartition(".")[2], (Unread,), {"__module__": module})


class _RestrictedPickle:
    """What `torch.load` needs of a pickle module."""

    __name__ = "restricted_pickle"
    Unpickler = _RestrictedUnpickler

    @staticmethod
    def load(file: Any, **options: Any) -> Any:
        return _RestrictedUnpickler(file, **options).load()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
