"""How long the stages of one face take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

STAGES = ("detect", "crop", "encode", "render", "invert", "sample")
"""Of one edit, in order: find the face, cut it out, read its codes, render codes, find the source's latent, paint."""


class Stopwatch:
    """Wall clock of nested stages: what an inner stage takes is not counted in the outer one.

    A GPU is waited for at both ends of a stage, so that its work counts where it was asked for.

    Args:
        clock: gives seconds.

    Example:
        >>> ticks = iter([0.0, 1.0, 4.0, 6.0])
        >>> watch = Stopwatch(lambda: next(ticks))
        >>> with watch("sample"):
        ...     with watch("render"):
        ...         pass
        >>> watch.seconds
        {'render': 3.0, 'sample': 3.0}
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._open: list[tuple[str, float, float]] = []  # stage, its start, what inner stages took

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a stage; several times of one stage add up."""
        self.start(stage)
        try:
            yield
        finally:
            self.stop()

    def start(self, stage: str) -> None:
        """Enter a stage."""
        self._open.append((stage, self._now(), 0.0))

    def stop(self) -> None:
        """Leave the stage that was entered last."""
        stage, start, inner = self._open.pop()
        whole = self._now() - start
        self.seconds[stage] = self.seconds.get(stage, 0.0) + whole - inner
        if self._open:
            outer, begun, taken = self._open[-1]
            self._open[-1] = (outer, begun, taken + whole)

    @contextmanager
    def watching(self, module: nn.Module, stage: str) -> Iterator[None]:
        """Time every call of a module as a stage of its own."""
        handles = [
            module.register_forward_pre_hook(lambda *_: self.start(stage)),
            module.register_forward_hook(lambda *_: self.stop()),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _now(self) -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return self._clock()


def typical_seconds(faces: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Median of each stage over faces, without the first one, which pays for warming up; and their sum, `total`.

    Args:
        faces: seconds of each stage, per face in the order of the run. One face alone is taken as it is.

    Example:
        >>> typical_seconds([{"encode": 9.0}, {"encode": 1.0}, {"encode": 3.0, "render": 1.0}])
        {'encode': 2.0, 'render': 1.0, 'total': 3.0}
    """
    warm = faces[1:] or faces
    medians = {}
    for stage in STAGES:
        known = [face[stage] for face in warm if stage in face]
        if known:
            medians[stage] = statistics.median(known)
    return medians | {"total": sum(medians.values())}
