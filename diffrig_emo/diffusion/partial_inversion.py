"""Inversion part of the way up the noise levels, as latent emotion editing is published.

Legend: `a` is alphas_cumprod; the grid is t_0 < t_1 < ... and a picture starts at the schedule's very first level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.diffusion.prediction import to_eps
from diffrig_emo.diffusion.samplers import Denoiser
from diffrig_emo.diffusion.schedules import NoiseSchedule, PredictionType


def partial_timesteps(num_inference_steps: int, strength: float = 0.5, num_steps: int = 1000) -> list[int]:
    """Evenly spread from step 1 to a share of the schedule, both included, rounded down (Pikoulis et al. 2023).

    Args:
        num_inference_steps: how many steps to visit, at least 2.
        strength: the last step's share of the schedule, 0 < strength <= 1.
        num_steps: how many the schedule was trained with.

    Raises:
        ValueError: when a number is out of range, or so many steps do not fit.

    Example:
        >>> partial_timesteps(6)
        [1, 100, 200, 300, 400, 500]
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength: expected a share of the schedule above 0 and at most 1, got {strength}")
    last = int(num_steps * strength)
    if not 2 <= num_inference_steps <= last:
        raise ValueError(
            f"num_inference_steps: expected 2 to {last}, the steps up to a strength of {strength}, got "
            f"{num_inference_steps}"
        )
    # The denominator first, so that whole numbers stay whole.
    grid = [int(t) for t in np.arange(num_inference_steps) * last / (num_inference_steps - 1)]
    grid[0] = 1
    grid[-1] = min(last, num_steps - 1)
    if grid != sorted(set(grid)):
        raise ValueError(
            f"num_inference_steps: {num_inference_steps} steps up to a strength of {strength} fall on each other; take "
            "fewer, or a greater strength"
        )
    return grid


def invert_ahead(
    denoiser: Denoiser,
    x_0: Float[Tensor, "batch ..."],
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    *,
    prediction_type: PredictionType = "eps",
) -> Float[Tensor, "batch ..."]:
    """Noise that leads to these pictures or latents, asked of the denoiser at the level that each step goes to.

        eps = denoiser(x, t_i),  x <- sqrt(a_i) (x - sqrt(1 - a_{i-1}) eps) / sqrt(a_{i-1}) + sqrt(1 - a_i) eps,

    a_{-1} being the schedule's first level. `ddim_invert` asks at the level that a step comes from. The way back is
    `ddim_sample(..., clip=False, end=float(schedule.alphas_cumprod[0]))`.

    Args:
        denoiser: callable (x_t, t) -> prediction, with the conditions of these pictures.
        x_0: pictures in [-1, 1], or latents.
        schedule: the schedule the denoiser was trained with.
        timesteps: ascending training steps, such as `partial_timesteps` gives.
        prediction_type: what the denoiser predicts.

    Returns:
        x_t at the last of the timesteps.

    Raises:
        ValueError: when timesteps are not ascending steps of the schedule.
    """
    steps = list(timesteps)
    if not steps or steps != sorted(set(steps)) or steps[0] < 0 or steps[-1] >= schedule.num_steps:
        raise ValueError(
            f"timesteps must be ascending, without repeats, within 0 ... {schedule.num_steps - 1}, got {steps}"
        )
    x_t, a = x_0, float(schedule.alphas_cumprod[0])
    for step in steps:
        a_to = float(schedule.alphas_cumprod[step])
        t = torch.full((x_t.shape[0],), step, device=x_t.device)
        eps = to_eps(denoiser(x_t, t), x_t, math.sqrt(a_to), math.sqrt(1 - a_to), prediction_type)
        clean = (x_t - math.sqrt(1 - a) * eps) / math.sqrt(a)
        x_t = math.sqrt(a_to) * clean + math.sqrt(1 - a_to) * eps
        a = a_to
    return x_t
