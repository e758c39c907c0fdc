"""The latent prior: semantic codes of people who do not exist."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor
from typing_extensions import Self

from diffrig_emo.diffusion.diffae_code_files import read_diffae_prior
from diffrig_emo.diffusion.latent_mlp import LatentMLP
from diffrig_emo.diffusion.noise import face_noise
from diffrig_emo.diffusion.samplers import ddim_sample
from diffrig_emo.diffusion.schedules import ConstantSchedule, NoiseSchedule
from diffrig_emo.diffusion.semantic_codes import CodeNormalization
from diffrig_emo.diffusion.timesteps import strided_timesteps
from diffrig_emo.modules.base import FaceModule
from diffrig_emo.structures import FaceBatch


class LatentPrior(FaceModule):
    """A diffusion model of normalised semantic codes (Preechakul et al., "Diffusion Autoencoders", 2022, section 3.4).

    It learns from `batch["semantic"]`, as `SemanticCodesDataModule` gives it, by the mean absolute error of the
    predicted noise. Mean and deviation of the codes are taken from the training faces when training begins, and are
    kept in the checkpoint. The codes that it draws are painted by the autoencoder whose codes it learned.

    Args:
        network: predicts the noise in codes.
        schedule: noise schedule; the published one is `ConstantSchedule`.
        num_inference_steps: DDIM steps when sampling, on the grid of `strided_timesteps`.
        optimizer: optimizer factory.
        lr_scheduler: learning-rate scheduler factory, stepped once per optimizer step; None keeps the rate.
        seed: with step and rank fixes the randomness of training; with the face's index, that of sampling.

    Raises:
        ValueError: when no grid visits so many steps; at the start of training, when the faces come without codes.
    """

    def __init__(
        self,
        network: LatentMLP,
        schedule: NoiseSchedule,
        num_inference_steps: int = 200,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, seed)
        self.save_hyperparameters()
        self.network = network
        self.schedule = schedule
        self.normalization = CodeNormalization(network.dim)
        self.timesteps = strided_timesteps(num_inference_steps, schedule.num_steps)
        """Steps that sampling visits, ascending; another grid may take its place."""

    @classmethod
    def from_diffae(cls, path: str | Path) -> Self:
        """The prior of an official checkpoint; arguments and errors as for `read_diffae_prior`."""
        network, normalization = read_diffae_prior(path)
        prior = cls(network, ConstantSchedule())
        prior.normalization = normalization
        return prior

    def forward(self, z_t: Float[Tensor, "batch dim"], t: Int[Tensor, " batch"]) -> Float[Tensor, "batch dim"]:
        """The noise predicted in normalised codes."""
        eps: Tensor = self.network(z_t, t)
        return eps

    def on_train_start(self) -> None:
        """Take mean and deviation of the training faces' codes."""
        learn_normalization(self.normalization, self.trainer.train_dataloader, type(self).__name__)

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Denoise at random steps."""
        z = self.normalization(batch["semantic"])
        t = torch.randint(self.schedule.num_steps, (len(z),), device=z.device)
        loss = self._error(z, t, torch.randn_like(z))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(z))
        return loss

    def validation_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Denoise with each face's own fixed noise and step, so that epochs compare."""
        return self._fixed_loss(batch, "val")

    def test_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """The same loss on test faces."""
        return self._fixed_loss(batch, "test")

    def predict_step(self, batch: FaceBatch, batch_idx: int = 0) -> Float[Tensor, "batch dim"]:
        """A new code for each face's index; what the batch shows of a face does not matter."""
        return self.sample(self._noise(batch["index"]))

    @torch.no_grad()
    def sample(self, noise: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        """Draw semantic codes from standard normal noise, by DDIM without clipping."""
        z = ddim_sample(self.network, noise, self.schedule, self.timesteps, clip=False)
        return self.normalization.invert(z)

    def _error(self, z: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        error: Tensor = (self(self.schedule.add_noise(z, eps, t), t) - eps).abs().mean()
        return error

    def _fixed_loss(self, batch: FaceBatch, stage: str) -> Tensor:
        z = self.normalization(batch["semantic"])
        # The golden ratio spreads the steps of consecutive faces evenly over the schedule.
        t = ((batch["index"].double() * 0.6180339887498949) % 1.0 * self.schedule.num_steps).long()
        loss = self._error(z, t, self._noise(batch["index"]))
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=len(z))
        return loss

    def _noise(self, index: Tensor) -> Tensor:
        return face_noise(self.seed, index, (self.network.dim,)).to(self.normalization.mean)


def learn_normalization(normalization: CodeNormalization, loader: Any, name: str) -> None:
    """Take the statistics of the codes of a training loader's data set.

    Args:
        normalization: what learns.
        loader: the loader; its data set has all `codes`, as `SemanticCodesDataModule` makes it.
        name: the module, for messages.

    Raises:
        ValueError: when the data set has no codes, or codes of another size.
    """
    dataset = getattr(loader, "dataset", None)
    codes = getattr(dataset, "codes", None)
    if not isinstance(codes, Tensor):
        raise ValueError(
            f"{name}: expected faces with semantic codes, got {type(dataset).__name__}, which has none; train on a "
            "SemanticCodesDataModule around these faces"
        )
    normalization.learn(codes.to(normalization.mean.device))
