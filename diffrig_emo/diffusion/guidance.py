"""Guidance: denoisers made of denoisers."""

from __future__ import annotations

from torch import Tensor

from diffrig_emo.diffusion.samplers import Denoiser


def classifier_free_guidance(denoiser_cond: Denoiser, denoiser_uncond: Denoiser, guidance_scale: float) -> Denoiser:
    """Exaggerate what the condition changes (Ho and Salimans 2022, eq. 6, with guidance_scale = 1 + w).

    The guided prediction is `uncond + guidance_scale (cond - uncond)`; this holds for eps, v and x_0 alike, which
    are linear in each other. The networks are asked one after the other, so memory does not grow.

    Args:
        denoiser_cond: denoiser with the condition bound.
        denoiser_uncond: the same denoiser with the empty condition it was trained with.
        guidance_scale: 0 ignores the condition, 1 is the plain conditional model, more exaggerates.

    Returns:
        A denoiser for the samplers.

    Example:
        >>> import torch
        >>> guided = classifier_free_guidance(lambda x, t: x + 1, lambda x, t: x, 3.0)
        >>> guided(torch.zeros(1), torch.zeros(1)).item()
        3.0
    """

    def guided(x_t: Tensor, t: Tensor) -> Tensor:
        cond = denoiser_cond(x_t, t)
        uncond = denoiser_uncond(x_t, t)
        return uncond + guidance_scale * (cond - uncond)

    return guided
