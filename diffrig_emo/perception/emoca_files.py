"""EMOCA's emotion networks on disk: which checkpoint of a model folder to take."""

from __future__ import annotations

import math
from pathlib import Path

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


def _loss(checkpoint: Path) -> float:
    try:
        loss = float(checkpoint.stem.rpartition("=")[2])
    except ValueError:
        return math.inf
    return loss if math.isfinite(loss) else math.inf
