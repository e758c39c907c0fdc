"""Samplers: from noise to a picture, and back, through an explicit list of time steps.

All are plain functions over a denoiser, a callable `(x_t, t) -> prediction` whose conditions are already bound
(`functools.partial(unet, conditioning=conditioning)`). They keep gradients, so that losses on the result can train
the denoiser: sample under `torch.no_grad()` when you do not need that.

Legend: `a` is alphas_cumprod of the present step, `a_to` that of the step gone to; `alpha = sqrt(a)`,
`sigma = sqrt(1 - a)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.diffusion.noise import Generators, draw_noise
from diffrig_emo.diffusion.prediction import to_eps, to_x_0
from diffrig_emo.diffusion.schedules import NoiseSchedule, PredictionType

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""`(x_t (batch, ...), t (batch,) int64) -> prediction` of the shape of x_t."""


class SamplerStep(NamedTuple):
    """What a sampler tells its callback after every step."""

    number: int
    """Number of this step, counted from 0 in the order of sampling."""
    timestep: int
    """Training step at which the denoiser was asked."""
    x_t: Tensor
    """Pictures after the step, at the level gone to."""
    x_0: Tensor
    """Clean pictures that the denoiser's answer implied, clamped when `clip`."""


Callback = Callable[[SamplerStep], None]


def ddim_sample(
    denoiser: Denoiser,
    noise: Float[Tensor, "batch ..."],
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    *,
    prediction_type: PredictionType = "eps",
    eta: float = 0.0,
    clip: bool = True,
    end: float = 1.0,
    generator: Generators | None = None,
    callback: Callback | None = None,
) -> Float[Tensor, "batch ..."]:
    """Go from noise to pictures by DDIM (Song et al. 2021, eq. 12).

        x_to = sqrt(a_to) x_0 + sqrt(1 - a_to - s^2) eps + s z,
        s = eta sqrt((1 - a_to) / (1 - a)) sqrt(1 - a / a_to)

    The last step goes to a_to = `end`; at 1 it returns x_0.

    Args:
        denoiser: callable (x_t, t) -> prediction.
        noise: x_t at the last of the timesteps; standard normal, or an inverted or noised picture.
        schedule: the schedule the denoiser was trained with.
        timesteps: ascending training steps to visit (see `timesteps.py`); a shorter list starts later.
        prediction_type: what the denoiser predicts.
        eta: 0 is deterministic, 1 as random as ancestral sampling.
        clip: clamp x_0 to [-1, 1] at each step and derive eps from it again; turn off for latents.
        end: alphas_cumprod of the level that the last step goes to: 1 is the clean picture, less stops on the way.
        generator: source of z when eta > 0, one or one per face (`face_generators`).
        callback: called with a `SamplerStep` after each step.

    Returns:
        Pictures in the denoiser's space.

    Raises:
        ValueError: when timesteps are not ascending steps of the schedule, or eta is outside [0, 1].

    Example:
        >>> from diffrig_emo.diffusion import LinearSchedule, strided_timesteps
        >>> def denoiser(x_t, t):  # knows that every picture is grey
        ...     return torch.zeros_like(x_t)
        >>> x_T = torch.randn(2, 3, 8, 8)
        >>> ddim_sample(denoiser, x_T, LinearSchedule(), strided_timesteps(5), prediction_type="x_0").abs().max().item()
        0.0
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    levels = _levels(schedule, timesteps)
    x_t = noise
    for number, i in enumerate(reversed(range(len(timesteps)))):
        a, a_to = levels[i], levels[i - 1] if i > 0 else end
        x_0, eps = _predict(denoiser, x_t, timesteps[i], a, prediction_type, clip)
        variance = eta**2 * (1 - a_to) / (1 - a) * (1 - a / a_to)
        x_t = math.sqrt(a_to) * x_0 + math.sqrt(max(1 - a_to - variance, 0.0)) * eps
        if variance > 0:
            z = draw_noise(x_t.shape, generator, device=x_t.device, dtype=x_t.dtype)
            x_t = x_t + math.sqrt(variance) * z
        if callback is not None:
            callback(SamplerStep(number, timesteps[i], x_t, x_0))
    return x_t


def ddim_invert(
    denoiser: Denoiser,
    x_0: Float[Tensor, "batch ..."],
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    *,
    prediction_type: PredictionType = "eps",
    clip: bool = True,
    end: float = 0.0,
    callback: Callback | None = None,
) -> Float[Tensor, "batch ..."]:
    """Find the noise from which `ddim_sample` paints these pictures: DDIM run upwards.

    Diffusion Autoencoders' stochastic encoder (Preechakul et al. 2022, eq. 8): pictures are taken as x_t at the
    first timestep, and the last step goes to a_to = `end`; at 0 the result is exactly the last eps.

    Args:
        denoiser: callable (x_t, t) -> prediction, with the conditions of these pictures.
        x_0: pictures in [-1, 1] (or latents).
        schedule: the schedule the denoiser was trained with.
        timesteps: ascending training steps to visit; sampling back may use another grid.
        prediction_type: what the denoiser predicts.
        clip: clamp the implied x_0 to [-1, 1] at each step and derive eps from it again.
        end: alphas_cumprod of the level that the last step goes to: 0 is pure noise, more stops on the way.
        callback: called with a `SamplerStep` after each step.

    Returns:
        The noise, to start `ddim_sample` from.

    Raises:
        ValueError: when timesteps are not ascending steps of the schedule.
    """
    levels = _levels(schedule, timesteps)
    x_t = x_0
    for i, a in enumerate(levels):
        a_to = levels[i + 1] if i + 1 < len(levels) else end
        clean, eps = _predict(denoiser, x_t, timesteps[i], a, prediction_type, clip)
        x_t = math.sqrt(a_to) * clean + math.sqrt(1 - a_to) * eps
        if callback is not None:
            callback(SamplerStep(i, timesteps[i], x_t, clean))
    return x_t


def dpm_solver_sample(
    denoiser: Denoiser,
    noise: Float[Tensor, "batch ..."],
    schedule: NoiseSchedule,
    timesteps: Sequence[int],
    *,
    prediction_type: PredictionType = "eps",
    clip: bool = True,
    callback: Callback | None = None,
) -> Float[Tensor, "batch ..."]:
    """Go from noise to pictures by DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): good pictures in 10 to 20 steps.

    With `lambda = log(alpha / sigma)` and `h` its increase over a step, x_0 is extrapolated from the last two
    answers, `D = x_0 + h / (2 h_last) (x_0 - x_0_last)`, and

        x_to = sigma_to / sigma x_t + alpha_to (1 - exp(-h)) D.

    The first step has no predecessor, and the last, to sigma_to = 0, needs none: it returns x_0.

    Args:
        denoiser: callable (x_t, t) -> prediction.
        noise: x_t at the last of the timesteps.
        schedule: the schedule the denoiser was trained with.
        timesteps: ascending training steps to visit; on `log_snr_timesteps` the solver is at its best.
        prediction_type: what the denoiser predicts.
        clip: clamp x_0 to [-1, 1] at each step; turn off for latents.
        callback: called with a `SamplerStep` after each step.

    Returns:
        Pictures in the denoiser's space.

    Raises:
        ValueError: when timesteps are not ascending steps of the schedule.
    """
    levels = _levels(schedule, timesteps)
    log_snr = [0.5 * math.log(a / (1 - a)) for a in levels]
    x_t, last = noise, None
    for number, i in enumerate(reversed(range(len(timesteps)))):
        x_0, _ = _predict(denoiser, x_t, timesteps[i], levels[i], prediction_type, clip)
        if i == 0:
            x_t = x_0
        else:
            h = log_snr[i - 1] - log_snr[i]
            slope = 0.0 if last is None else h / (2 * (log_snr[i] - log_snr[i + 1]))
            extrapolated = x_0 if last is None else x_0 + slope * (x_0 - last)
            sigma_ratio = math.sqrt((1 - levels[i - 1]) / (1 - levels[i]))
            x_t = sigma_ratio * x_t - math.sqrt(levels[i - 1]) * math.expm1(-h) * extrapolated
        last = x_0
        if callback is not None:
            callback(SamplerStep(number, timesteps[i], x_t, x_0))
    return x_t


def _predict(
    denoiser: Denoiser, x_t: Tensor, timestep: int, a: float, prediction_type: PredictionType, clip: bool
) -> tuple[Tensor, Tensor]:
    """Ask the denoiser, and read its answer as (x_0, eps)."""
    alpha, sigma = math.sqrt(a), math.sqrt(1 - a)
    t = torch.full((x_t.shape[0],), timestep, device=x_t.device)
    prediction = denoiser(x_t, t)
    x_0 = to_x_0(prediction, x_t, alpha, sigma, prediction_type)
    if not clip:
        return x_0, to_eps(prediction, x_t, alpha, sigma, prediction_type)
    x_0 = x_0.clamp(-1, 1)
    # The noise that leads to the clamped picture, not the one predicted: the step then stays consistent.
    return x_0, to_eps(x_0, x_t, alpha, sigma, "x_0")


def _levels(schedule: NoiseSchedule, timesteps: Sequence[int]) -> list[float]:
    """alphas_cumprod of each step, after checking the list."""
    steps = list(timesteps)
    if not steps or steps != sorted(set(steps)) or steps[0] < 0 or steps[-1] >= schedule.num_steps:
        raise ValueError(
            f"timesteps must be ascending, without repeats, within 0 ... {schedule.num_steps - 1}, got {steps}"
        )
    return [float(schedule.alphas_cumprod[t]) for t in steps]
