"""Edits through which gradients reach the denoiser: three ways, interchangeable.

Legend: `x_0` is the source in [-1, 1]; `own` and `wanted` are the denoiser with the source's conditions and with the
edited ones; `a` is alphas_cumprod.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diffrig_emo.diffusion.prediction import to_x_0
from diffrig_emo.diffusion.samplers import Denoiser, ddim_invert, ddim_sample
from diffrig_emo.diffusion.schedules import NoiseSchedule, PredictionType
from diffrig_emo.diffusion.timesteps import even_timesteps


@dataclasses.dataclass(frozen=True)
class EditSample:
    """Edited pictures that carry gradients."""

    x_0: Float[Tensor, "batch 3 height width"]
    """The edits, signal in [-1, 1]."""
    weight: Float[Tensor, " batch"]
    """How far each edit can be trusted, 0 to 1: a factor of its loss."""


class EditChain(ABC):
    """From source pictures to edited ones, with gradients to the denoiser's weights."""

    @abstractmethod
    def __call__(
        self,
        x_0: Float[Tensor, "batch 3 height width"],
        own: Denoiser,
        wanted: Denoiser,
        schedule: NoiseSchedule,
        prediction_type: PredictionType,
        hold: Float[Tensor, "batch 1 height width"] | None = None,
    ) -> EditSample:
        """Edit.

        Args:
            x_0: the sources, in [-1, 1].
            own: the denoiser, with the sources' conditions.
            wanted: the denoiser, with the edited conditions.
            schedule: the schedule the denoiser was trained with.
            prediction_type: what the denoiser predicts.
            hold: factor of an inverted latent where the edit changes the picture (`FaceDiffusion.edit`); None is 1.
        """


class OneStepEdit(EditChain):
    """Noise the source to a random level and take the denoiser's guess of the clean edit: one evaluation.

    Low levels still show the source, and guesses from high ones are blurred means that an encoder misreads: levels
    come from a range between, and each guess counts by `min(SNR, gamma) / gamma` (the weights of Hang et al. 2023).

    Args:
        lowest: least level, as a share of the schedule's steps.
        highest: greatest level.
        gamma: signal-to-noise ratio from which on a guess counts in full.

    Raises:
        ValueError: when a number is out of range.
    """

    def __init__(self, lowest: float = 0.3, highest: float = 0.8, gamma: float = 1.0) -> None:
        if not 0 <= lowest < highest <= 1 or gamma <= 0:
            raise ValueError(
                "OneStepEdit needs 0 <= lowest < highest <= 1 and gamma > 0, got "
                f"lowest={lowest}, highest={highest}, gamma={gamma}"
            )
        self.lowest = lowest
        self.highest = highest
        self.gamma = gamma

    def __call__(
        self,
        x_0: Float[Tensor, "batch 3 height width"],
        own: Denoiser,
        wanted: Denoiser,
        schedule: NoiseSchedule,
        prediction_type: PredictionType,
        hold: Float[Tensor, "batch 1 height width"] | None = None,
    ) -> EditSample:
        """Edit; `own` and `hold` are not needed."""
        n = len(x_0)
        share = (torch.rand(1, device=x_0.device) + torch.arange(n, device=x_0.device) / n) % 1
        share = self.lowest + (self.highest - self.lowest) * share
        t = (share * schedule.num_steps).long().clamp(max=schedule.num_steps - 1)
        x_t = schedule.add_noise(x_0, torch.randn_like(x_0), t)
        alpha, sigma = schedule.scales(t, x_t)
        guess = to_x_0(wanted(x_t, t), x_t, alpha, sigma, prediction_type)
        return EditSample(guess, (schedule.snr(t) / self.gamma).clamp(max=1))


class TruncatedEdit(EditChain):
    """The edit as it is made at inference, with gradients through its last steps (DRaFT-K, Clark et al. 2024).

    The source is inverted and denoised without gradients down to the last `last` steps. Those are checkpointed:
    memory holds one evaluation at a time, whatever `last` is.

    Args:
        num_steps: DDIM steps, up and down.
        last: how many steps at the end carry gradients.
        checkpointing: recompute each step's activations in the backward pass instead of keeping them.

    Raises:
        ValueError: when `last` is not within 1 and `num_steps`.
    """

    def __init__(self, num_steps: int = 10, last: int = 4, checkpointing: bool = True) -> None:
        if not 1 <= last <= num_steps:
            raise ValueError(f"TruncatedEdit: last must be within 1 and num_steps={num_steps}, got {last}")
        self.num_steps = num_steps
        self.last = last
        self.checkpointing = checkpointing

    def __call__(
        self,
        x_0: Float[Tensor, "batch 3 height width"],
        own: Denoiser,
        wanted: Denoiser,
        schedule: NoiseSchedule,
        prediction_type: PredictionType,
        hold: Float[Tensor, "batch 1 height width"] | None = None,
    ) -> EditSample:
        """Edit through the whole chain."""
        steps = even_timesteps(self.num_steps, schedule.num_steps)
        first, last = steps[self.last :], steps[: self.last]
        with torch.no_grad():
            x_t = ddim_invert(own, x_0, schedule, steps, prediction_type=prediction_type)
            if hold is not None:
                x_t = hold * x_t
            if first:
                level = float(schedule.alphas_cumprod[last[-1]])
                x_t = ddim_sample(wanted, x_t, schedule, first, prediction_type=prediction_type, end=level)
        denoiser = _checkpointed(wanted) if self.checkpointing else wanted
        edit = ddim_sample(denoiser, x_t, schedule, last, prediction_type=prediction_type)
        return EditSample(edit, torch.ones_like(edit[:, 0, 0, 0]))


class InversionEdit(EditChain):
    """Invert the source part of the way, then regenerate by a short chain with gradients through all of it.

    DiffusionCLIP's finetuning (Kim et al. 2022, section 3.3): a partly inverted picture keeps its layout, and a few
    steps suffice to train by. What lies below the level reached stays as it was: `hold` does not apply.

    Args:
        num_steps: steps of the chain, up and down.
        strength: level of the inversion, as a share of the schedule's steps (their t_0).
        checkpointing: recompute each step's activations in the backward pass instead of keeping them.

    Raises:
        ValueError: when a number is out of range.
    """

    def __init__(self, num_steps: int = 6, strength: float = 0.6, checkpointing: bool = True) -> None:
        if num_steps < 2 or not 0 < strength <= 1:
            raise ValueError(
                f"InversionEdit needs num_steps of 2 or more and 0 < strength <= 1, got {num_steps} and {strength}"
            )
        self.num_steps = num_steps
        self.strength = strength
        self.checkpointing = checkpointing

    def __call__(
        self,
        x_0: Float[Tensor, "batch 3 height width"],
        own: Denoiser,
        wanted: Denoiser,
        schedule: NoiseSchedule,
        prediction_type: PredictionType,
        hold: Float[Tensor, "batch 1 height width"] | None = None,
    ) -> EditSample:
        """Edit through the short chain."""
        reach = max(self.num_steps, round(self.strength * schedule.num_steps))
        steps = even_timesteps(self.num_steps, reach)
        with torch.no_grad():
            level = float(schedule.alphas_cumprod[steps[-1]])
            x_t = ddim_invert(own, x_0, schedule, steps[:-1], prediction_type=prediction_type, end=level)
        denoiser = _checkpointed(wanted) if self.checkpointing else wanted
        edit = ddim_sample(denoiser, x_t, schedule, steps, prediction_type=prediction_type)
        return EditSample(edit, torch.ones_like(edit[:, 0, 0, 0]))


def _checkpointed(denoiser: Denoiser) -> Denoiser:
    def evaluate(x_t: Tensor, t: Tensor) -> Tensor:
        prediction: Tensor = checkpoint(denoiser, x_t, t, use_reentrant=False)
        return prediction

    return evaluate
