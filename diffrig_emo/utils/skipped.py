"""What a missing file or package makes impossible is left out, with the reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Skipped:
    """Stands in a result for what could not be had; as text it says why.

    Example:
        >>> print(Skipped("LPIPS", "its trunk was not found"))
        LPIPS: skipped, because its trunk was not found
    """

    what: str
    """What is left out."""
    reason: str
    """Why, and what to do to get it."""

    def __str__(self) -> str:
        return f"{self.what}: skipped, because {self.reason}"


def unless_missing(what: str, build: Callable[[], T]) -> T | Skipped:
    """Build something that needs an official file or an optional package, or say why it cannot be had.

    Only what is missing is skipped. A damaged file, or another one than expected, is still an error.

    Args:
        what: its name in results and messages.
        build: makes it, such as the class of a frozen network.

    Returns:
        What `build` made, or the reason why it could not.

    Example:
        >>> from pathlib import Path
        >>> unless_missing("the answer", lambda: 42)
        42
        >>> isinstance(unless_missing("a page", lambda: Path("no such page").read_text()), Skipped)
        True
    """
    try:
        return build()
    except (FileNotFoundError, ImportError) as error:
        return Skipped(what, str(error))
