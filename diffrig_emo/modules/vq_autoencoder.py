"""Training the first stage of latent diffusion."""

from __future__ import annotations

import torch
from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from typing_extensions import Self

from diffrig_emo.diffusion.vq_network import Quantised, VQNetwork
from diffrig_emo.losses.adversarial import adaptive_weight, hinge_loss
from diffrig_emo.metrics.functional.image import psnr
from diffrig_emo.modules.base import FaceModule
from diffrig_emo.structures import FaceBatch
from diffrig_emo.transforms.ranges import to_signed, to_unit


class VQAutoencoder(FaceModule):
    """A vector-quantised autoencoder of photographs, trained against a critic (VQGAN, Esser et al. 2021).

    The loss is `|x - y| + perceptual + codebook + w critic`; the critic joins once reconstructions are worth its while,
    and `w` is `adversarial_weight` times the ratio of the gradients at the last layer (their eq. 7). Optimisation is
    manual: autoencoder and critic each have their backward pass, and one optimizer steps both, so that a step of
    the trainer is a batch. `FaceDiffusion(autoencoder=..., autoencoder_weights=CHECKPOINT)` builds on the result.

    Args:
        network: encoder, codebook and decoder.
        discriminator: the critic, pictures in [-1, 1] to verdicts; None trains without.
        perceptual: distance of pictures in [0, 1], (B, 3, H, W) twice to (B,), such as `perception.LPIPSNetwork`;
            frozen. None leaves it out, where its weights are not at hand: reconstructions are then smoother.
        perceptual_weight: weight of that distance.
        codebook_weight: weight of the codebook's loss.
        adversarial_weight: weight of the critic's opinion.
        adversarial_start: optimizer steps before the critic joins.
        revive_every: every so many steps, from the first on, entries of the codebook that were never used since become
            latents of the batch (Dhariwal et al. 2020, "Jukebox": random restarts): short trainings then use all of it.
            None leaves them.
        optimizer: optimizer factory.
        lr_scheduler: learning-rate scheduler factory, stepped once per optimizer step; None keeps the rate.
        seed: with step and rank fixes the randomness of training.

    Raises:
        ValueError: when a weight is negative, or a number of steps.
    """

    used: Tensor

    def __init__(
        self,
        network: VQNetwork,
        discriminator: nn.Module | None = None,
        perceptual: nn.Module | None = None,
        perceptual_weight: float = 1.0,
        codebook_weight: float = 1.0,
        adversarial_weight: float = 0.75,
        adversarial_start: int = 30_000,
        revive_every: int | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, seed)
        self.save_hyperparameters()
        numbers: dict[str, float] = {
            "perceptual_weight": perceptual_weight,
            "codebook_weight": codebook_weight,
            "adversarial_weight": adversarial_weight,
            "adversarial_start": adversarial_start,
        }
        for name, value in numbers.items():
            if value < 0:
                raise ValueError(f"VQAutoencoder: {name} must be at least 0, got {value}")
        if revive_every is not None and revive_every < 1:
            raise ValueError(f"VQAutoencoder: revive_every must be at least 1, or None, got {revive_every}")
        self.automatic_optimization = False
        self.network = network
        self.discriminator = discriminator
        self.perceptual = None if perceptual is None else perceptual.requires_grad_(False)
        self.perceptual_weight = perceptual_weight
        self.codebook_weight = codebook_weight
        self.adversarial_weight = adversarial_weight
        self.adversarial_start = adversarial_start
        self.revive_every = revive_every
        self.register_buffer("used", torch.zeros(network.num_codes, dtype=torch.bool))
        self.train()

    def train(self, mode: bool = True) -> Self:
        """The perceptual network stays in eval mode."""
        super().train(mode)
        if self.perceptual is not None:
            self.perceptual.eval()
        return self

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Reconstructions of pictures; both RGB in [0, 1]."""
        return to_unit(self.network.decode(self.network.encode(to_signed(image)))).clamp(0, 1)

    def training_step(self, batch: FaceBatch, batch_idx: int) -> None:
        """One step of the autoencoder and, once it has joined, of the critic."""
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert not isinstance(optimizer, list)
        x = to_signed(batch["image"])
        z = self.network.encode(x)
        if self.revive_every is not None and self.global_step % self.revive_every == 0:
            self.network.replace_codes(~self.used, z)
            self.used.zero_()
        quantised = self.network.quantise(z)
        self.used[quantised.entry] = True
        y = self.network.paint(quantised.z).to(x.dtype)
        optimizer.zero_grad()
        losses = self._autoencoder_losses(x, y, quantised)
        critic = self.discriminator if self.global_step >= self.adversarial_start else None
        loss = losses["loss"]
        if critic is not None:
            critic.requires_grad_(False)  # its gradients are of its own loss alone
            adversarial = -critic(y).mean()
            weight = adaptive_weight(losses["kept"], adversarial, self.network.last_weight)
            loss = loss + self.adversarial_weight * weight * adversarial
            losses |= {"adversarial": adversarial, "adaptive_weight": weight}
        self.manual_backward(loss)
        if critic is not None:
            critic.requires_grad_(True)
            losses["critic"] = hinge_loss(critic(x), critic(y.detach()))
            self.manual_backward(losses["critic"])
        optimizer.step()
        if scheduler is not None:
            assert not isinstance(scheduler, list)
            scheduler.step()
        size = len(x)
        self.log("train/loss", losses.pop("loss"), prog_bar=True, batch_size=size)
        self.log_dict({f"train/{name}": value for name, value in losses.items()}, batch_size=size)

    def validation_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """How near reconstructions come, and how much of the codebook a batch needs."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """The same on test faces."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: FaceBatch, batch_idx: int = 0) -> Float[Tensor, "batch 3 height width"]:
        """Reconstructions, RGB in [0, 1]."""
        return self.forward(batch["image"])

    def _autoencoder_losses(self, x: Tensor, y: Tensor, quantised: Quantised) -> dict[str, Tensor]:
        """`kept` is the distance of the pictures, `loss` that and the codebook's."""
        losses: dict[str, Tensor] = {"l1": (x - y).abs().mean(), "codebook": quantised.loss}
        kept = losses["l1"]
        if self.perceptual is not None:
            losses["perceptual"] = self.perceptual(to_unit(y), to_unit(x)).mean()
            kept = kept + self.perceptual_weight * losses["perceptual"]
        losses["kept"] = kept
        losses["loss"] = kept + self.codebook_weight * quantised.loss
        return losses

    def _evaluate(self, batch: FaceBatch, stage: str) -> Tensor:
        image = batch["image"]
        x = to_signed(image)
        quantised = self.network.quantise(self.network.encode(x))
        y = self.network.paint(quantised.z).to(x.dtype)
        losses = self._autoencoder_losses(x, y, quantised)
        losses["psnr"] = psnr(to_unit(y).clamp(0, 1), image).mean()
        losses["codes"] = torch.tensor(float(len(quantised.entry.unique())))
        loss: Tensor = losses.pop("loss")
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=len(x))
        self.log_dict({f"{stage}/{name}": value for name, value in losses.items()}, batch_size=len(x))
        return loss
