"""Optional packages, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType


def require(module: str, *, purpose: str, install: str) -> ModuleType:
    """Import an optional package, or say what it is for and how to get it.

    Names that need an optional package always exist in diffrig_emo; the package is asked for on first use.

    Args:
        module: dotted name of the module to import.
        purpose: what needs it, such as "Pytorch3dRasterizer".
        install: what to do to get it, such as `pip install "diffrig_emo[latent]"`.

    Returns:
        The imported module.

    Raises:
        ImportError: when it cannot be imported; the original error is its cause.

    Example:
        >>> require("math", purpose="an example", install="nothing").pi > 3
        True
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {module}, which cannot be imported ({error}). To get it: {install}"
        ) from error
