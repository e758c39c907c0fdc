"""Every diffusion system of the field: a denoiser, what conditions it, and how it is trained and sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from typing_extensions import Self

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.conditioning.buffers import BufferConditioner
from diffrig_emo.conditioning.global_code import GlobalCodeConditioner
from diffrig_emo.diffusion.diffusionrig_files import read_diffusionrig
from diffrig_emo.diffusion.noise import face_noise
from diffrig_emo.diffusion.samplers import Denoiser, ddim_invert, ddim_sample
from diffrig_emo.diffusion.schedules import LinearSchedule, NoiseSchedule, PredictionType
from diffrig_emo.diffusion.timesteps import even_timesteps, strided_timesteps
from diffrig_emo.losses.diffusion import LossWeighting, P2Weighting
from diffrig_emo.losses.functional import denoising_loss
from diffrig_emo.modules.base import FaceModule
from diffrig_emo.morphable.base import FaceModel, TextureModel
from diffrig_emo.renderer.buffers import BufferRenderer
from diffrig_emo.structures import Conditioning, FaceBatch, FaceCodes
from diffrig_emo.transforms.ranges import to_signed, to_unit


class FaceDiffusion(FaceModule):
    """A conditional diffusion model of face photographs.

    DiffusionRig, DiffusionRig-EMO, Diffusion Autoencoders and what you build yourself differ in the
    conditioners and losses given here, in nothing else.

    Args:
        denoiser: network (x_t, t, Conditioning) -> prediction, such as `ConditionedUNet`.
        conditioners: bridges from the batch to conditions; their outputs are merged.
        schedule: noise schedule.
        prediction_type: what the denoiser predicts: "eps", "v" or "x_0".
        weighting: weight of the loss by timestep; None weighs all alike.
        num_inference_steps: DDIM steps when sampling and inverting.
        optimizer: optimizer factory.
        lr_scheduler: learning-rate scheduler factory, stepped once per optimizer step; None keeps the rate.
        seed: with step and rank fixes the randomness of training; with the face's index, that of sampling.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        conditioners: list[Conditioner],
        schedule: NoiseSchedule,
        prediction_type: PredictionType = "eps",
        weighting: LossWeighting | None = None,
        num_inference_steps: int = 20,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, seed)
        self.save_hyperparameters()
        self.denoiser = denoiser
        self.conditioners = nn.ModuleList(conditioners)
        self.schedule = schedule
        self.prediction_type = prediction_type
        self.weighting = weighting
        self.timesteps = even_timesteps(num_inference_steps, schedule.num_steps)
        """Steps that sampling and inverting visit, ascending; another grid may take its place."""

    @classmethod
    def from_diffusionrig(cls, path: str | Path, face_model: FaceModel, texture: TextureModel) -> Self:
        """DiffusionRig from its own model file, of either training stage: network, loss and sampling grid.

        Args:
            path: the `.pt` file, also DiffusionRig-EMO's; or `.safetensors` of the same names.
            face_model: what its buffers were made with: FLAME 2020.
            texture: what its buffers were made with: `FLAME_texture.npz`.

        Raises:
            FileNotFoundError: when there is no such file.
            ValueError: when it is damaged or another file.
        """
        unet, encoder = read_diffusionrig(path)
        size = 8 * unet.divisor  # the smallest feature maps of every official size are 8x8
        buffers = BufferConditioner(face_model, texture, BufferRenderer(size))
        rig = cls(unet, [buffers, GlobalCodeConditioner(encoder)], LinearSchedule(), weighting=P2Weighting())
        rig.timesteps = strided_timesteps(20, rig.schedule.num_steps)  # "ddim20"
        return rig

    def forward(
        self, x_t: Float[Tensor, "batch 3 height width"], t: Int[Tensor, " batch"], conditioning: Conditioning
    ) -> Float[Tensor, "batch 3 height width"]:
        """The denoiser's prediction for noisy pictures in [-1, 1]."""
        prediction: Tensor = self.denoiser(x_t, t, conditioning)
        return prediction

    def condition(self, batch: FaceBatch) -> Conditioning:
        """Merge what all conditioners make of a batch."""
        return Conditioning.merge([conditioner(batch) for conditioner in self.conditioners])

    def denoising_loss(
        self, batch: FaceBatch, t: Int[Tensor, " batch"], eps: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, " batch"]:
        """Weighted mean squared error of the prediction, per face.

        Args:
            batch: faces with what the conditioners need.
            t: timestep of each face.
            eps: standard normal noise.
        """
        x_0 = to_signed(batch["image"])
        x_t = self.schedule.add_noise(x_0, eps, t)
        prediction = self(x_t, t, self.condition(batch))
        target = self.schedule.target(x_0, eps, t, self.prediction_type)
        weight = None if self.weighting is None else self.weighting(self.schedule.snr(t), self.prediction_type)
        return denoising_loss(prediction, target, weight)

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Denoise at random timesteps, spread evenly over the batch.

        Each is uniform, but together they cover the schedule, which lowers the variance of the loss (Kingma et
        al., "Variational Diffusion Models", 2021, appendix I.1).
        """
        image = batch["image"]
        n = image.shape[0]
        u = (torch.rand(1, device=image.device) + torch.arange(n, device=image.device) / n) % 1
        t = (u * self.schedule.num_steps).long().clamp(max=self.schedule.num_steps - 1)
        loss = self.denoising_loss(batch, t, torch.randn_like(image)).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=n)
        return loss

    def validation_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Denoise with each face's own fixed noise and timestep, so that epochs compare."""
        return self._fixed_loss(batch, "val")

    def test_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """The same loss on test faces."""
        return self._fixed_loss(batch, "test")

    def predict_step(self, batch: FaceBatch, batch_idx: int = 0) -> Float[Tensor, "batch 3 height width"]:
        """Edit each photo to `batch["target_codes"]`, or reconstruct it where there are none; RGB in [0, 1]."""
        return self.edit(batch, codes=batch.get("target_codes"))

    @torch.no_grad()
    def sample(
        self, conditioning: Conditioning, noise: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Paint pictures in [0, 1] from noise by DDIM."""
        return self._paint(self._bind(conditioning), noise)

    @torch.no_grad()
    def invert(
        self, image: Float[Tensor, "batch 3 height width"], conditioning: Conditioning
    ) -> Float[Tensor, "batch 3 height width"]:
        """Find the noise x_T from which DDIM paints pictures in [0, 1] again."""
        return ddim_invert(
            self._bind(conditioning),
            to_signed(image),
            self.schedule,
            self.timesteps,
            prediction_type=self.prediction_type,
        )

    @torch.no_grad()
    def edit(
        self,
        batch: FaceBatch,
        codes: FaceCodes | None = None,
        donor: Float[Tensor, "batch 3 height width"] | None = None,
        start: Literal["inverted", "noise"] = "inverted",
        release: float = 0.5,
        temperature: float = 1.0,
        latent: Float[Tensor, "batch 3 height width"] | None = None,
    ) -> Float[Tensor, "batch 3 height width"]:
        """Paint the faces of a batch anew, with other codes or another photo's global code.

        Args:
            batch: the sources: `image` and `codes`, and `index` when starting from noise.
            codes: codes wanted; None keeps the sources'.
            donor: photos in [0, 1] whose global code is wanted; None keeps the sources'.
            start: "inverted" starts from the sources' inverted latents, which keeps hair, background and
                skin; "noise" from each face's own noise.
            release: how far an inverted latent lets go of the source where the edit changes the spatial
                conditions, 0 to 1. It still holds what was painted there, the old mouth under the new one, so
                there it is scaled by `1 - release * min(1, |change|)`, |change| being the largest over the
                channels; elsewhere it stays, and so does the photograph. Costs nothing.
            temperature: factor of the noise when starting from noise; below 1 the pictures get likelier and
                smoother, which hides the grain of a rig that has trained little.
            latent: the sources' inverted latents, from `invert`, where several edits share them; None inverts here.

        Returns:
            The edited photographs, RGB in [0, 1].

        Raises:
            StructError: when codes are not finite or of another space.
            ValueError: when `release` or `temperature` is not within 0 to 1.
        """
        for name, value in {"release": release, "temperature": temperature}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: expected a number from 0 to 1, got {value}")
        batch["codes"].require_finite()
        target = FaceBatch(**batch)
        if codes is not None:
            target["codes"] = codes.require_finite().require_space(batch["codes"].space)
        if donor is not None:
            target["image"] = donor
        wanted = self.condition(target)
        if start == "noise":
            return self._paint(self._bind(wanted), temperature * self._noise(batch))
        own = self.condition(batch)
        x_t = self.invert(batch["image"], own) if latent is None else latent
        if own.spatial is not None and wanted.spatial is not None:
            change = (wanted.spatial - own.spatial).abs().amax(dim=1, keepdim=True)
            x_t = x_t * (1 - release * change.clamp(max=1))
        return self._paint(self._bind(wanted), x_t)

    def _bind(self, conditioning: Conditioning) -> Denoiser:
        return lambda x_t, t: self(x_t, t, conditioning)

    def _paint(self, denoiser: Denoiser, noise: Tensor) -> Tensor:
        x_0 = ddim_sample(denoiser, noise, self.schedule, self.timesteps, prediction_type=self.prediction_type)
        return to_unit(x_0).clamp(0, 1)

    def _noise(self, batch: FaceBatch) -> Tensor:
        image = batch["image"]
        return face_noise(self.seed, batch["index"], tuple(image.shape[1:])).to(image)

    def _fixed_loss(self, batch: FaceBatch, stage: str) -> Tensor:
        # The golden ratio spreads the timesteps of consecutive faces evenly over the schedule.
        t = ((batch["index"].double() * 0.6180339887498949) % 1.0 * self.schedule.num_steps).long()
        loss = self.denoising_loss(batch, t, self._noise(batch)).mean()
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=batch["image"].shape[0])
        return loss
