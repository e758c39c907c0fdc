"""Figures and settings in files of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from diffrig_emo.io.atomic import atomic_path


def write_json(path: str | Path, content: object) -> None:
    """Write a file of JSON, with null for numbers that are not finite; it appears only when complete.

    Args:
        path: the file; missing parent folders are made.
        content: mappings, sequences, numbers, texts and paths.

    Raises:
        TypeError: when there is anything else in it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_json(f"{folder}/a.json", {"psnr": 27.5, "lpips": float("nan")})
        ...     print(Path(f"{folder}/a.json").read_text(), end="")
        {
          "psnr": 27.5,
          "lpips": null
        }
    """
    with atomic_path(path) as temporary:
        text = json.dumps(_finite(content), indent=2, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def _finite(content: object) -> object:
    if isinstance(content, Mapping):
        return {str(name): _finite(value) for name, value in content.items()}
    if isinstance(content, Sequence) and not isinstance(content, str):
        return [_finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return str(content) if isinstance(content, Path) else content
