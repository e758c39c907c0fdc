"""EMOCA's emotion networks on disk: the checkpoint of a model folder, and one network out of it."""

from __future__ import annotations

import math
from pathlib import Path

from torch import Tensor, nn

from diffrig_emo.io.checkpoints import read_weights
from diffrig_emo.utils.assets import locate_asset


def find_checkpoint(asset: str, path: str | Path | None) -> Path:
    """The checkpoint with the smallest validation loss, which the authors put at the end of its name.

    Args:
        asset: name of the model in `diffrig_emo.utils.ASSETS`.
        path: the `.ckpt` itself, the model's folder, or a folder to search for it; None: the usual folders.

    Raises:
        FileNotFoundError: when there is no model, or no such checkpoint in it.
    """
    if path is not None and Path(path).expanduser().is_file():
        return Path(path).expanduser()
    folder = locate_asset(asset, path)
    if folder.is_file():
        return folder
    found = {checkpoint: _loss(checkpoint) for checkpoint in sorted(folder.rglob("*.ckpt"), reverse=True)}
    best = min(found, key=lambda checkpoint: found[checkpoint], default=None)
    if best is None or found[best] == math.inf:
        raise FileNotFoundError(
            f"{folder}: expected a checkpoint whose name ends in its validation loss, such as "
            "deca-epoch=01-val_loss_total/dataloader_idx_0=1.27607644.ckpt (the slash is a folder; unpack the zip with "
            f"folders), got {[checkpoint.name for checkpoint in found] or 'none'}; or give the .ckpt file itself"
        )
    return best


def load_network(path: Path, network: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Give a network its weights; names and shapes must be exactly those of the file.

    Args:
        path: the checkpoint.
        network: the network, possibly on the meta device.
        prefixes: how its names begin; others in the file belong to other networks.

    Raises:
        ValueError: naming the file, when it is damaged or holds another network; nothing is then loaded.
    """
    content = read_weights(path)
    state = content.get("state_dict", content)
    tensors = {n: t for n, t in state.items() if str(n).startswith(prefixes) and isinstance(t, Tensor)}
    wanted = network.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            got = tuple(tensors[name].shape) if name in tensors else f"none among {', '.join(list(state)[:3])}, ..."
            raise ValueError(f"{path}: expected {name} of shape {tuple(tensor.shape)}, got {got}; this is another file")
    unknown = sorted(tensors.keys() - wanted.keys())
    if unknown:
        raise ValueError(f"{path}: it also holds {', '.join(unknown[:3])}, which the expected network has not")
    # Copies, because what was read may be mapped from the file.
    network.load_state_dict({n: t.clone().to(wanted[n].dtype) for n, t in tensors.items()}, assign=True)


def _loss(checkpoint: Path) -> float:
    try:
        loss = float(checkpoint.stem.rpartition("=")[2])
    except ValueError:
        return math.inf
    return loss if math.isfinite(loss) else math.inf
