"""The way of an edit: from photographs up the noise levels, and down to photographs again."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.diffusion.noise import Generators
from diffrig_emo.diffusion.samplers import Denoiser, ddim_invert, ddim_sample, dpm_solver_sample
from diffrig_emo.diffusion.schedules import NoiseSchedule, PredictionType
from diffrig_emo.diffusion.timesteps import log_snr_timesteps, squeeze_timesteps
from diffrig_emo.transforms.ranges import to_signed, to_unit

Sampler = Literal["ddim", "dpm"]
"""DDIM, or DPM-Solver++(2M)."""


@dataclasses.dataclass(frozen=True)
class NoisePath:
    """How far up an edit goes, and how it comes down.

    Upwards it is DDIM's inversion, or plain noise; downwards the sampler that is asked for. DPM-Solver++ starts at the
    same step, and visits as many steps of its own grid (`log_snr_timesteps`).

    Raises:
        ValueError: when a number is out of range, the sampler is unknown, or DPM-Solver++ is to draw noise.

    Example:
        >>> from diffrig_emo.diffusion import LinearSchedule, even_timesteps
        >>> path = NoisePath(LinearSchedule(), even_timesteps(10), "x_0", strength=0.5)
        >>> path.steps[-1], path.paint(lambda x_t, t: torch.zeros_like(x_t), torch.randn(1, 3, 8, 8)).mean().item()
        (500, 0.5)
    """

    schedule: NoiseSchedule
    """The schedule the denoiser was trained with."""
    timesteps: Sequence[int]
    """Ascending steps that the whole way up visits."""
    prediction_type: PredictionType
    """What the denoiser predicts."""
    sampler: Sampler = "ddim"
    """The way down."""
    eta: float = 0.0
    """How random DDIM is, 0 to 1."""
    strength: float = 1.0
    """How far up, as a share of the schedule, 0 < strength <= 1."""
    encode: Callable[[Tensor], Tensor] = to_signed
    """What the denoiser works on, of pictures in [0, 1]."""
    decode: Callable[[Tensor], Tensor] = lambda x_0: to_unit(x_0).clamp(0, 1)
    """Pictures in [0, 1] of what the denoiser works on."""
    clip: bool = True
    """Whether what it works on lies in [-1, 1]; latents do not."""

    def __post_init__(self) -> None:
        if self.sampler not in ("ddim", "dpm"):
            raise ValueError(f"sampler: expected ddim or dpm, got {self.sampler!r}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta: expected a number from 0 to 1, got {self.eta}")
        if self.sampler == "dpm" and self.eta > 0:
            raise ValueError(f'eta: DPM-Solver++ draws no noise; expected 0 with sampler="dpm", got {self.eta}')
        squeeze_timesteps(self.timesteps, self.strength)  # refuses a strength out of range

    @property
    def steps(self) -> list[int]:
        """The steps that are left of the grid."""
        return squeeze_timesteps(self.timesteps, self.strength)

    def invert(
        self, denoiser: Denoiser, image: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """The latents from which `paint` makes these pictures again.

        Args:
            denoiser: denoiser with the pictures' own conditions.
            image: RGB in [0, 1].

        Returns:
            x_T, pure noise as far as the denoiser knows; with a strength below 1, x_t of the last step.
        """
        x_0, steps, end = self.encode(image), self.steps, 0.0
        if self.strength < 1:
            if len(steps) == 1:  # DDIM's inversion takes pictures to be at the first step already
                return x_0
            end, steps = float(self.schedule.alphas_cumprod[steps[-1]]), steps[:-1]
        kind = self.prediction_type
        return ddim_invert(denoiser, x_0, self.schedule, steps, prediction_type=kind, clip=self.clip, end=end)

    def loosened(
        self,
        x_t: Float[Tensor, "batch 3 height width"],
        image: Float[Tensor, "batch 3 height width"],
        hold: Float[Tensor, "batch 1 height width"],
    ) -> Float[Tensor, "batch 3 height width"]:
        """Inverted latents that let go of their pictures here and there.

        Noise that was found for a picture still draws its outlines; less of it draws what the conditions say. Below a
        strength of 1 the latents are part picture, of which nothing is taken: less of that would be grey.

        Args:
            x_t: latents as `invert` gives them.
            image: the pictures that they are of, RGB in [0, 1].
            hold: factor of the noise (`released`).
        """
        if self.strength == 1:
            return hold * x_t
        share = math.sqrt(self.schedule.alphas_cumprod[self.steps[-1]]) * self.encode(image)
        return share + hold * (x_t - share)

    def noised(
        self, image: Float[Tensor, "batch 3 height width"], noise: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Where a way down begins that is not to follow the pictures closely (SDEdit, Meng et al. 2022, eq. 6).

        Args:
            image: RGB in [0, 1].
            noise: standard normal, or less of it.

        Returns:
            The noise alone; with a strength below 1, the pictures under the noise of the last step.
        """
        if self.strength == 1:
            return noise
        t = torch.full((len(image),), self.steps[-1], device=image.device)
        return self.schedule.add_noise(self.encode(image), noise, t)

    def paint(
        self, denoiser: Denoiser, x_t: Float[Tensor, "batch 3 height width"], draws: Generators | None = None
    ) -> Float[Tensor, "batch 3 height width"]:
        """Pictures from latents, RGB in [0, 1].

        Args:
            denoiser: denoiser with the conditions wanted.
            x_t: latents of the last step.
            draws: source of noise where eta is above 0, one per face.
        """
        kind = self.prediction_type
        if self.sampler == "dpm":
            grid = log_snr_timesteps(len(self.steps), self.schedule, self.steps[-1])
            x_0 = dpm_solver_sample(denoiser, x_t, self.schedule, grid, prediction_type=kind, clip=self.clip)
        else:
            x_0 = ddim_sample(
                denoiser,
                x_t,
                self.schedule,
                self.steps,
                prediction_type=kind,
                eta=self.eta,
                clip=self.clip,
                generator=draws,
            )
        return self.decode(x_0)
