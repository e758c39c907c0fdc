"""Named grids of time steps: which of the training steps a sampler visits. All are ascending lists."""

from __future__ import annotations

import bisect

import numpy as np


def strided_timesteps(num_inference_steps: int, num_steps: int = 1000) -> list[int]:
    """Every k-th step from 0, where k is the smallest stride that gives exactly so many (the "ddimN" rule).

    DiffusionRig's and Diffusion Autoencoders' grid: "ddim20" is 0, 50, ..., 950. The last training step is
    rarely among them.

    Args:
        num_inference_steps: how many steps to visit.
        num_steps: how many the schedule was trained with.

    Raises:
        ValueError: when no stride gives so many steps; the message names the nearest numbers that work.

    Example:
        >>> strided_timesteps(5)
        [0, 200, 400, 600, 800]
        >>> strided_timesteps(60)
        Traceback (most recent call last):
            ...
        ValueError: no stride visits exactly 60 of 1000 steps; nearby numbers that work: 53, 56, 59, 63, 67, 72
    """
    _check(num_inference_steps, num_steps)
    strides: dict[int, int] = {}
    for stride in range(1, num_steps):  # one step would start from noise at step 0
        strides.setdefault(len(range(0, num_steps, stride)), stride)
    if num_inference_steps not in strides:
        possible = sorted(strides)
        at = bisect.bisect(possible, num_inference_steps)
        nearby = ", ".join(str(n) for n in possible[max(at - 3, 0) : at + 3])
        raise ValueError(
            f"no stride visits exactly {num_inference_steps} of {num_steps} steps; nearby numbers that work: {nearby}"
        )
    return list(range(0, num_steps, strides[num_inference_steps]))


def even_timesteps(num_inference_steps: int, num_steps: int = 1000) -> list[int]:
    """Evenly spread from the first step to the last, both included, rounded to integers.

    Args:
        num_inference_steps: how many steps to visit, at least 2.
        num_steps: how many the schedule was trained with.

    Raises:
        ValueError: when the number is below 2 or above num_steps.

    Example:
        >>> even_timesteps(5)
        [0, 250, 500, 749, 999]
    """
    _check(num_inference_steps, num_steps, at_least=2)
    stride = (num_steps - 1) / (num_inference_steps - 1)
    return [round(i * stride) for i in range(num_inference_steps)]


def linspace_timesteps(num_inference_steps: int, num_steps: int = 1000) -> list[int]:
    """Evenly spread up to the last step, but without step 0, where next to no noise is left to remove.

    DPM-Solver's own grid: the interval 0 ... num_steps - 1 in so many equal parts, without its lower end.

    Args:
        num_inference_steps: how many steps to visit.
        num_steps: how many the schedule was trained with.

    Raises:
        ValueError: when the number is below 1 or above num_steps - 1.

    Example:
        >>> linspace_timesteps(4)
        [250, 500, 749, 999]
    """
    _check(num_inference_steps, num_steps - 1)
    return [int(t) for t in np.linspace(0, num_steps - 1, num_inference_steps + 1).round()[1:]]


def _check(num_inference_steps: int, most: int, at_least: int = 1) -> None:
    if not at_least <= num_inference_steps <= most:
        raise ValueError(f"num_inference_steps must lie in {at_least} ... {most}, got {num_inference_steps}")
