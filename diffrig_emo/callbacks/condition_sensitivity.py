"""Does the output depend on its conditions? A denoiser that ignores one still has a falling loss."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from jaxtyping import Float
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from diffrig_emo.callbacks.diffusion_module import DiffusionModule, as_diffusion
from diffrig_emo.structures import Conditioning


class ConditionSensitivity(Callback):
    """Measure in every validation how much the prediction changes when faces swap one of their conditions.

    Noise and timestep stay as they are, at a quarter, half and three quarters of the schedule; each face gets the
    condition of the next one in the batch. Logged is `val/sensitivity_<name>` for `spatial`, `tokens` and each vector:
    the change, as a share of the prediction, in root mean squares. 0 means that the condition is ignored, which
    diffusion autoencoders are known for (the decoder then follows the noise alone).

    A condition that all faces of the batch share, such as the shape code of an album, is not measured.

    Args:
        threshold: warn, once for each condition, when the change is smaller than this.
        patience: optimizer steps before the first warning; untrained networks ignore much.

    Raises:
        ValueError: at the start of training, when the module is no `FaceDiffusion`.
    """

    def __init__(self, threshold: float = 1e-3, patience: int = 1000) -> None:
        self.threshold = threshold
        self.patience = patience
        self._warned: set[str] = set()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse what has no conditions."""
        as_diffusion(pl_module, self)

    @torch.no_grad()
    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure on the first batch of every validation, in the first process."""
        if batch_idx or dataloader_idx or not trainer.is_global_zero:
            return
        module = as_diffusion(pl_module, self)
        with trainer.precision_plugin.forward_context():
            found = sensitivity(module, module.condition(batch), batch["image"])
        for name, value in found.items():
            # `sync_dist` only keeps Lightning from recommending it: what is logged by one process is not averaged.
            pl_module.log(f"val/sensitivity_{name}", value, sync_dist=True, rank_zero_only=True, batch_size=1)
            if value < self.threshold and trainer.global_step >= self.patience and name not in self._warned:
                self._warned.add(name)
                rank_zero_warn(
                    f"ConditionSensitivity: at step {trainer.global_step} the prediction hardly depends on {name!r}: "
                    f"it changes by {value:.1e} of itself when faces swap it. See docs/how-to/training.md."
                )


@torch.no_grad()
def sensitivity(
    module: DiffusionModule, conditioning: Conditioning, image: Float[Tensor, "batch 3 height width"]
) -> dict[str, float]:
    """Relative change of the prediction for each condition that differs within the batch.

    Args:
        module: the diffusion model.
        conditioning: conditions of the batch.
        image: its pictures in [0, 1].

    Returns:
        Name of the condition to root mean square of the change over that of the prediction.
    """
    swapped = _swapped(conditioning)
    changes: dict[str, list[float]] = {name: [] for name in swapped}
    x_0 = module.encode(image)
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0)).to(x_0)
    for quarter in (1, 2, 3):
        t = torch.full((len(x_0),), module.schedule.num_steps * quarter // 4, device=x_0.device)
        x_t = module.schedule.add_noise(x_0, eps, t)
        prediction = module(x_t, t, conditioning).float()
        scale = _rms(prediction).clamp(min=1e-12)
        for name, other in swapped.items():
            changes[name].append(float(_rms(module(x_t, t, other).float() - prediction) / scale))
    return {name: sum(values) / len(values) for name, values in changes.items()}


def _swapped(conditioning: Conditioning) -> dict[str, Conditioning]:
    """The conditions with one of them, which differs within the batch, handed on to the next face."""
    own = conditioning.vectors
    vectors = {name: {**own, name: vector.roll(1, 0)} for name, vector in own.items() if _varies(vector)}
    found = {name: conditioning.replace(vectors=changed) for name, changed in vectors.items()}
    if conditioning.spatial is not None and _varies(conditioning.spatial):
        found["spatial"] = conditioning.replace(spatial=conditioning.spatial.roll(1, 0))
    if conditioning.tokens is not None and _varies(conditioning.tokens):
        found["tokens"] = conditioning.replace(tokens=conditioning.tokens.roll(1, 0))
    return found


def _varies(values: Tensor) -> bool:
    return not torch.equal(values, values.roll(1, 0))


def _rms(values: Tensor) -> Tensor:
    return values.square().mean().sqrt()
