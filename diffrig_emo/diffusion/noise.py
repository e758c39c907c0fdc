"""Noise that belongs to a face: the same whatever batch the face travels in, and on every device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator]
"""One generator for the whole batch, or one for each face of it."""


def face_generators(seed: int, indices: Sequence[int] | Int[Tensor, " batch"]) -> list[torch.Generator]:
    """One CPU generator for each face, seeded from (seed, face index).

    Give them to `ddim_sample` for stochastic sampling that the batch size does not change.

    Args:
        seed: seed of the run, not negative.
        indices: index of each face in its data set, not negative.

    Raises:
        ValueError: when the seed or an index is negative.
    """
    numbers = [int(index) for index in indices]
    if seed < 0 or any(number < 0 for number in numbers):
        raise ValueError(f"seed and face indices must not be negative, got seed {seed} and indices {numbers}")
    states = (np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0] for number in numbers)
    return [torch.Generator().manual_seed(int(state) >> 1) for state in states]


def face_noise(
    seed: int,
    indices: Sequence[int] | Int[Tensor, " batch"],
    shape: Sequence[int],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "batch ..."]:
    """Standard normal noise for each face, from (seed, face index) alone.

    Args:
        seed: seed of the run.
        indices: index of each face in its data set.
        shape: shape of one face's noise, (3, height, width) for instance.
        device: where the result goes; the numbers are always drawn on the CPU.
        dtype: dtype of the result; the numbers are always drawn in float32.

    Returns:
        Noise of shape (len(indices), *shape).

    Example:
        >>> together = face_noise(7, [3, 8], (3, 4, 4))
        >>> bool((together[1:] == face_noise(7, [8], (3, 4, 4))).all())
        True
    """
    generators = face_generators(seed, indices)
    return draw_noise((len(generators), *shape), generators, device=device, dtype=dtype)


def draw_noise(
    shape: Sequence[int],
    generator: Generators | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Standard normal noise for a batch, from one generator or from each face's own.

    Raises:
        ValueError: when there are generators, but not one per face.
    """
    if generator is None or isinstance(generator, torch.Generator):
        source = generator.device if generator is not None else torch.device(device)
        return torch.randn(*shape, generator=generator, device=source).to(device, dtype)
    if len(generator) != shape[0]:
        raise ValueError(f"a batch of {shape[0]} faces needs {shape[0]} generators, got {len(generator)}")
    parts = [torch.randn(*shape[1:], generator=g, device=g.device).to(device, dtype) for g in generator]
    return torch.stack(parts)
