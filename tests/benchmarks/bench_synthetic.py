"""Synthetic photographs per second, one process."""

from __future__ import annotations

import time
from typing import Any

from diffrig_emo.synthesis import SyntheticFaces

COUNT = 24


def benchmarks() -> dict[str, dict[str, Any]]:
    return {f"synthetic_faces_{size}": {"value": samples_per_second(size), "unit": "samples/s"} for size in (64, 256)}


def samples_per_second(size: int) -> float:
    faces = SyntheticFaces(COUNT + 1, size, 0)
    faces[COUNT]  # builds the head and its tables
    start = time.perf_counter()
    for number in range(COUNT):
        faces[number]
    return COUNT / (time.perf_counter() - start)
