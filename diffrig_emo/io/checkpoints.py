"""Checkpoints that turn out to be missing or torn before any long work starts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch


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
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(
            f"ckpt_path: {path} ({path.stat().st_size:,} bytes) cannot be read as a checkpoint: it is torn, or no "
            f"checkpoint. Take an earlier one, or train again. PyTorch says: {reason}"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise ValueError(f"ckpt_path: expected a Lightning checkpoint with a state_dict, got {path} without one")
    return content
