"""Deterministic, framework-free weights and inputs for numeric parity tests.

Every tensor is a pure function of its *name* and *shape* (and an optional
*salt*), so two independent implementations that agree on parameter names can
be filled with identical numbers without exchanging any weight file.

Rule
----
``seed = crc32((salt + name).encode()) & 0xffffffff`` and
``x = numpy.random.RandomState(seed).standard_normal(shape)`` (float64), then,
first match wins:

==============================================  ==========================
name / shape                                     value
==============================================  ==========================
name ends with ``num_batches_tracked``           0 (int64)
ndim >= 2                                        ``x * 0.7 / sqrt(fan_in)``
                                                 with ``fan_in = prod(shape[1:])``
name ends with ``running_mean``                  ``0.1 * x``
name ends with ``running_var``                   ``1 + 0.1 * |x|``
name ends with ``weight`` (norm scale)           ``1 + 0.1 * x``
name ends with ``bias``                          ``0.05 * x``
anything else (0-d or 1-d)                       ``0.05 * x``
==============================================  ==========================

Everything but ``num_batches_tracked`` is cast to float32 as the last step.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

GAIN = 0.7


def rng_for(tag: str) -> np.random.RandomState:
    """Return the legacy Mersenne-Twister generator seeded from ``tag``."""
    return np.random.RandomState(zlib.crc32(tag.encode()) & 0xFFFFFFFF)


def fill_tensor(name: str, shape: Sequence[int], salt: str = "") -> np.ndarray:
    """Return the deterministic value of the parameter ``name``."""
    dims = tuple(int(n) for n in shape)
    if name.endswith("num_batches_tracked"):
        return np.zeros(dims, dtype=np.int64)
    x = np.asarray(rng_for(salt + name).standard_normal(dims), dtype=np.float64)
    if len(dims) >= 2:
        x = x * GAIN / np.sqrt(float(np.prod(dims[1:])))
    elif name.endswith("running_mean"):
        x = 0.1 * x
    elif name.endswith("running_var"):
        x = 1.0 + 0.1 * np.abs(x)
    elif name.endswith("weight"):
        x = 1.0 + 0.1 * x
    else:
        x = 0.05 * x
    return np.asarray(x, dtype=np.float32)


def fill_state(keys: Mapping[str, Sequence[int]], salt: str = "") -> dict[str, np.ndarray]:
    """Return the filled tensors for a whole ``{name: shape}`` mapping."""
    return {name: fill_tensor(name, shape, salt) for name, shape in keys.items()}


def seeded_array(tag: str, shape: Sequence[int], low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """Return float32 uniform numbers in ``[low, high)`` seeded from ``tag``."""
    u = rng_for(tag).uniform(0.0, 1.0, size=tuple(int(n) for n in shape))
    return np.asarray(low + (high - low) * u, dtype=np.float32)


def seeded_normal(tag: str, shape: Sequence[int], scale: float = 1.0) -> np.ndarray:
    """Return float32 standard normal numbers times ``scale`` seeded from ``tag``."""
    x = rng_for(tag).standard_normal(tuple(int(n) for n in shape))
    return np.asarray(scale * x, dtype=np.float32)


def nest(flat: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Split every name at its first dot into two dictionary levels."""
    out: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        head, _, tail = name.partition(".")
        out.setdefault(head, {})[tail] = value
    return out
