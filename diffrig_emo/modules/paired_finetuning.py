"""Every emotion at once, learned from true edits in one step."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.diffusion.autoencoder import Autoencoder
from diffrig_emo.diffusion.partial_inversion import partial_timesteps
from diffrig_emo.diffusion.prediction import to_x_0
from diffrig_emo.diffusion.schedules import NoiseSchedule, PredictionType
from diffrig_emo.losses.changed_pixels import change_around
from diffrig_emo.modules.diffusion import FaceDiffusion
from diffrig_emo.modules.emotion_editor import label_denoiser, paint_partially
from diffrig_emo.modules.emotion_finetuning import check_level
from diffrig_emo.structures import FaceBatch


class PairedFinetuning(FaceDiffusion):
    """Finetune a latent emotion model on true edits: what `EmotionFinetuning` goes on from, where there are any.

    From the inverted latent of a face, one evaluation of the denoiser under the label that is wanted should say the
    latent of the picture that was taken of the same face with that emotion: `|x_0(x_T, label) - E(true edit)|^2`. Chain
    and decoder are left out, so that a step costs what one of ordinary training costs. The denoiser learns; autoencoder
    and label embeddings stay.

    Args:
        denoiser: as for `FaceDiffusion`.
        conditioners: as for `FaceDiffusion`; frozen.
        schedule: as for `FaceDiffusion`.
        changed_weight: how much more a place counts where the true edit changes most; elsewhere in proportion.
        strength: how far up the latents are, as a share of the schedule.
        num_inference_steps: steps of `predict`.
        prediction_type: as for `FaceDiffusion`.
        initial_weights: checkpoint of the latent emotion model.
        autoencoder: as for `FaceDiffusion`.
        latent_scale: as for `FaceDiffusion`.
        optimizer: as for `FaceDiffusion`.
        lr_scheduler: as for `FaceDiffusion`.
        seed: as for `FaceDiffusion`.

    Raises:
        ValueError: when a number is out of range; at the start of training, when the latents are at another level than
            `strength` says.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        conditioners: list[Conditioner],
        schedule: NoiseSchedule,
        changed_weight: float = 0.0,
        strength: float = 0.5,
        num_inference_steps: int = 2,
        prediction_type: PredictionType = "eps",
        initial_weights: str | None = None,
        autoencoder: Autoencoder | None = None,
        latent_scale: float | None = 1.0,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        if changed_weight < 0:
            raise ValueError(f"changed_weight: expected at least 0, got {changed_weight}")
        super().__init__(
            denoiser,
            conditioners,
            schedule,
            prediction_type=prediction_type,
            num_inference_steps=num_inference_steps,
            initial_weights=initial_weights,
            autoencoder=autoencoder,
            latent_scale=latent_scale,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            seed=seed,
        )
        self.conditioners.requires_grad_(False)
        self.changed_weight = changed_weight
        self.timesteps = partial_timesteps(num_inference_steps, strength, schedule.num_steps)
        self.train()

    def train(self, mode: bool = True) -> PairedFinetuning:
        """Conditioners, which would drop labels, stay in eval mode."""
        super().train(mode)
        self.conditioners.eval()
        return self

    def on_fit_start(self) -> None:
        """Refuse latents of another level."""
        check_level(self, self.timesteps[-1])

    def losses(self, batch: FaceBatch) -> Float[Tensor, " batch"]:
        """How far off the latents are, one number per face.

        Raises:
            ValueError: when the batch lacks what `InvertedFacesDataModule(true_edits=...)` gives.
        """
        missing = [name for name in ("latent", "true_edit", "target_label") if name not in batch]
        if missing:
            raise ValueError(
                f"{', '.join(missing)}: PairedFinetuning needs inverted latents and true edits in the batch; make them "
                "by diffrig-emo invert-emotions --scenes true and take InvertedFacesDataModule with true_edits=all"
            )
        x_t = batch["latent"]
        t = torch.full((len(x_t),), self.timesteps[-1], device=x_t.device)
        prediction = label_denoiser(self, batch, batch["target_label"])(x_t, t)
        level = self.schedule.alphas_cumprod[self.timesteps[-1]]
        x_0 = to_x_0(prediction, x_t, level.sqrt(), (1 - level).sqrt(), self.prediction_type)
        wanted = self.encode(batch["true_edit"])
        change = change_around(batch["image"], batch["true_edit"])
        height, width = wanted.shape[-2:]
        counts = 1 + self.changed_weight * F.adaptive_avg_pool2d(change, (height, width))
        return (counts * (x_0 - wanted).square()).flatten(1).mean(dim=1)

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Say the latents of true edits."""
        return self._mean(batch, "train")

    def validation_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """The same on held-out faces."""
        return self._mean(batch, "val")

    def test_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """The same on test faces."""
        return self._mean(batch, "test")

    def predict_step(self, batch: FaceBatch, batch_idx: int = 0) -> Float[Tensor, "batch 3 height width"]:
        """The faces with `batch["target_label"]`, RGB in [0, 1]."""
        denoiser = label_denoiser(self, batch, batch["target_label"])
        return paint_partially(self, denoiser, batch["latent"], self.timesteps)

    def _mean(self, batch: FaceBatch, stage: str) -> Tensor:
        loss = self.losses(batch).mean()
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=len(batch["label"]))
        return loss
