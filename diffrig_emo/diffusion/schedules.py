"""Noise schedules: how much noise each of the training steps carries.

Legend (Ho et al. 2020): `betas[t]` is the variance added by step t; `alphas_cumprod[t]` the product of
`1 - betas` up to t, written a below; `x_t = sqrt(a) x_0 + sqrt(1 - a) eps`; `SNR = a / (1 - a)`.

A schedule is no module and holds no buffers: its tables are float64 on the CPU and stay so under `.half()`.
Coefficients are looked up there, and only then become float32 (float64 for float64 pictures) on the picture's device.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffrig_emo.diffusion.prediction import prediction_target, to_eps, to_x_0
from diffrig_emo.losses.functional import PredictionType

__all__ = [
    "ConstantSchedule",
    "CosineSchedule",
    "LinearSchedule",
    "NoiseSchedule",
    "PredictionType",
    "ScaledLinearSchedule",
]


class NoiseSchedule:
    """A table of noise levels and the conversions that need it.

    Pictures may have any shape (batch, ...); `t` holds one integer step per sample.

    Attributes:
        betas: float64 (num_steps,), variance added by each step.
        alphas_cumprod: float64 (num_steps,), share of the picture's variance left after each step; decreasing.

    Args:
        betas: float64 (num_steps,), each within (0, 1).

    Raises:
        ValueError: when betas is no vector of numbers between 0 and 1.

    Example:
        >>> schedule = NoiseSchedule(torch.tensor([0.1, 0.2]))
        >>> schedule.num_steps, [round(a, 4) for a in schedule.alphas_cumprod.tolist()]
        (2, [0.9, 0.72])
    """

    def __init__(self, betas: Tensor) -> None:
        if betas.ndim != 1 or len(betas) == 0 or not bool(((betas > 0) & (betas < 1)).all()):
            raise ValueError(f"betas must be a vector of numbers within (0, 1), got {betas}")
        self.betas = betas.double().cpu()
        self.alphas_cumprod = torch.cumprod(1 - self.betas, dim=0)
        self._tables = {
            "alpha": self.alphas_cumprod.sqrt(),
            "sigma": (1 - self.alphas_cumprod).sqrt(),
            "snr": self.alphas_cumprod / (1 - self.alphas_cumprod),
        }
        self._on_device: dict[tuple[str, torch.device, torch.dtype], Tensor] = {}

    @property
    def num_steps(self) -> int:
        """Number of training steps; t runs from 0 (nearly clean) to num_steps - 1 (nearly noise)."""
        return len(self.betas)

    def add_noise(
        self, x_0: Float[Tensor, "batch ..."], eps: Float[Tensor, "batch ..."], t: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch ..."]:
        """Diffuse clean pictures to step t: `x_t = sqrt(a) x_0 + sqrt(1 - a) eps`.

        Args:
            x_0: clean pictures in [-1, 1] (or latents).
            eps: standard normal noise of the same shape.
            t: steps in 0 ... num_steps - 1.

        Returns:
            x_t in the dtype of x_0.

        Raises:
            ValueError: when the shapes differ, or t is not one valid integer step per sample.
        """
        alpha, sigma = self.scales(t, x_0)
        if x_0.shape != eps.shape:
            raise ValueError(f"eps must have the shape of x_0, {tuple(x_0.shape)}, got {tuple(eps.shape)}")
        return (alpha * x_0 + sigma * eps).to(x_0.dtype)

    def target(
        self,
        x_0: Float[Tensor, "batch ..."],
        eps: Float[Tensor, "batch ..."],
        t: Int[Tensor, " batch"],
        prediction_type: PredictionType,
    ) -> Float[Tensor, "batch ..."]:
        """What the denoiser should predict for `add_noise(x_0, eps, t)`: eps, v or x_0."""
        return prediction_target(x_0, eps, *self.scales(t, x_0), prediction_type).to(x_0.dtype)

    def predict_x_0(
        self,
        prediction: Float[Tensor, "batch ..."],
        x_t: Float[Tensor, "batch ..."],
        t: Int[Tensor, " batch"],
        prediction_type: PredictionType,
    ) -> Float[Tensor, "batch ..."]:
        """The clean picture that the denoiser's output at (x_t, t) implies; not clamped."""
        return to_x_0(prediction, x_t, *self.scales(t, x_t), prediction_type).to(x_t.dtype)

    def predict_eps(
        self,
        prediction: Float[Tensor, "batch ..."],
        x_t: Float[Tensor, "batch ..."],
        t: Int[Tensor, " batch"],
        prediction_type: PredictionType,
    ) -> Float[Tensor, "batch ..."]:
        """The noise that the denoiser's output at (x_t, t) implies."""
        return to_eps(prediction, x_t, *self.scales(t, x_t), prediction_type).to(x_t.dtype)

    def snr(self, t: Int[Tensor, " batch"], dtype: torch.dtype = torch.float32) -> Float[Tensor, " batch"]:
        """Signal-to-noise ratio `a / (1 - a)` of each step, on the device of t."""
        return self._gather("snr", t, dtype)

    def scales(self, t: Int[Tensor, " batch"], like: Tensor) -> tuple[Tensor, Tensor]:
        """`sqrt(a)` and `sqrt(1 - a)` of each sample, shaped (batch, 1, ...) to multiply `like`, at least float32."""
        if t.shape != like.shape[:1]:
            raise ValueError(f"t must have one step per sample, shape ({like.shape[0]},), got {tuple(t.shape)}")
        dtype = torch.promote_types(like.dtype, torch.float32)
        shape = (-1, *[1] * (like.ndim - 1))
        return self._gather("alpha", t, dtype).view(shape), self._gather("sigma", t, dtype).view(shape)

    def _gather(self, name: str, t: Tensor, dtype: torch.dtype) -> Tensor:
        if t.is_floating_point() or t.is_complex() or t.dtype == torch.bool:
            raise ValueError(f"t must hold integer steps, got {t.dtype}")
        # On accelerators the range check would wait for the device; there an index error is raised instead.
        if t.device.type == "cpu" and len(t) and not 0 <= int(t.min()) <= int(t.max()) < self.num_steps:
            raise ValueError(f"t must lie in 0 ... {self.num_steps - 1}, got {int(t.min())} ... {int(t.max())}")
        key = (name, t.device, dtype)
        if key not in self._on_device:
            # A table born inside inference mode could never be used in training again.
            with torch.inference_mode(False):
                self._on_device[key] = self._tables[name].to(dtype).to(t.device)
        return self._on_device[key][t]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_on_device": {}}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(num_steps={self.num_steps})"


class LinearSchedule(NoiseSchedule):
    """Betas evenly spaced (Ho et al. 2020, section 4): DiffusionRig's and Diffusion Autoencoders' schedule.

    Args:
        num_steps: number of training steps.
        beta_start: first beta of a schedule of 1000 steps; other lengths are scaled by 1000 / num_steps.
        beta_end: last beta, likewise.

    Example:
        >>> [round(a, 6) for a in LinearSchedule().alphas_cumprod[[0, 500, 999]].tolist()]
        [0.9999, 0.077797, 4e-05]
    """

    def __init__(self, num_steps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> None:
        scale = 1000 / _checked(num_steps)
        super().__init__(
            torch.linspace(scale * beta_start, scale * beta_end, num_steps, dtype=torch.float64, device="cpu")
        )


class ConstantSchedule(NoiseSchedule):
    """All betas alike: the schedule of Diffusion Autoencoders' latent prior (Preechakul et al. 2022, appendix A).

    Args:
        num_steps: number of training steps.
        beta: each beta.

    Example:
        >>> [round(a, 6) for a in ConstantSchedule().alphas_cumprod[[0, 499, 999]].tolist()]
        [0.992, 0.018023, 0.000325]
    """

    def __init__(self, num_steps: int = 1000, beta: float = 0.008) -> None:
        super().__init__(torch.full((_checked(num_steps),), beta, dtype=torch.float64, device="cpu"))


class ScaledLinearSchedule(NoiseSchedule):
    """Square roots of the betas evenly spaced: the schedule of latent diffusion (Rombach et al. 2022).

    Args:
        num_steps: number of training steps.
        beta_start: first beta.
        beta_end: last beta.
    """

    def __init__(self, num_steps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> None:
        roots = torch.linspace(beta_start**0.5, beta_end**0.5, _checked(num_steps), dtype=torch.float64, device="cpu")
        super().__init__(roots**2)


class CosineSchedule(NoiseSchedule):
    """`a` follows a squared cosine (Nichol and Dhariwal 2021, eq. 17): gentle at both ends, good for small pictures.

    Args:
        num_steps: number of training steps.
        offset: s of the paper, keeps the first steps from being too small.
        max_beta: betas are clipped to it, which matters at the very last steps only.
    """

    def __init__(self, num_steps: int = 1000, offset: float = 0.008, max_beta: float = 0.999) -> None:
        time = torch.arange(_checked(num_steps) + 1, dtype=torch.float64, device="cpu") / num_steps
        wanted = torch.cos((time + offset) / (1 + offset) * math.pi / 2) ** 2
        super().__init__((1 - wanted[1:] / wanted[:-1]).clamp(max=max_beta))


def _checked(num_steps: int) -> int:
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1, got {num_steps}")
    return num_steps
