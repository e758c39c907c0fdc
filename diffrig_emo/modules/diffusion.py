"""Every diffusion system of the field: a denoiser, what conditions it, and how it is trained and sampled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from typing_extensions import Self

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.conditioning.buffers import BufferConditioner
from diffrig_emo.conditioning.expression_code import ExpressionCodeConditioner
from diffrig_emo.conditioning.expression_subspace import ExpressionSubspace
from diffrig_emo.conditioning.global_code import GlobalCodeConditioner
from diffrig_emo.conditioning.semantic_code import ExpressiveSemanticConditioner, SemanticCodeConditioner
from diffrig_emo.diffusion.autoencoder import Autoencoder
from diffrig_emo.diffusion.diffae_files import read_diffae
from diffrig_emo.diffusion.diffusionrig_files import read_diffusionrig
from diffrig_emo.diffusion.editing import changing, released
from diffrig_emo.diffusion.guidance import classifier_free_guidance
from diffrig_emo.diffusion.low_rank import LowRankAdapter
from diffrig_emo.diffusion.noise import draw_noise, face_generators
from diffrig_emo.diffusion.noise_path import NoisePath, Sampler
from diffrig_emo.diffusion.samplers import Denoiser
from diffrig_emo.diffusion.schedules import LinearSchedule, NoiseSchedule, PredictionType
from diffrig_emo.diffusion.timesteps import Spacing, even_spacing, strided_spacing
from diffrig_emo.diffusion.unet import VectorModulation
from diffrig_emo.io.checkpoints import load_part
from diffrig_emo.losses.contrast import SceneContrast
from diffrig_emo.losses.diffusion import LossWeighting, P2Weighting
from diffrig_emo.losses.functional import denoising_loss
from diffrig_emo.modules.base import FaceModule
from diffrig_emo.modules.initial_weights import NOISE_LEVELS, load_initial_weights
from diffrig_emo.morphable.base import FaceModel, TextureModel
from diffrig_emo.renderer.buffers import BufferRenderer
from diffrig_emo.structures import Conditioning, FaceBatch, FaceCodes
from diffrig_emo.transforms.ranges import to_signed, to_unit


class FaceDiffusion(FaceModule):
    """A conditional diffusion model of face photographs.

    DiffusionRig, DiffusionRig-EMO, Diffusion Autoencoders and what you build yourself differ in the
    conditioners and losses given here, in nothing else.

    With an autoencoder it is a latent diffusion model (Rombach et al. 2022): the denoiser then sees latents, and all
    that is called x or noise here has their shape.

    Args:
        denoiser: network (x_t, t, Conditioning) -> prediction, such as `ConditionedUNet`.
        conditioners: bridges from the batch to conditions; their outputs are merged.
        schedule: noise schedule.
        prediction_type: what the denoiser predicts: "eps", "v" or "x_0".
        weighting: weight of the loss by timestep; None weighs all alike.
        contrast: in training on batches of scenes, weighs what tells the photographs of a scene apart above the rest;
            None: faces have nothing to do with each other.
        num_inference_steps: DDIM steps when sampling and inverting.
        spacing: how they are spread over the schedule; `log_snr_timesteps` inverts photographs more exactly.
        initial_weights: an earlier stage's checkpoint to start from (.ckpt, .safetensors, or DiffusionRig's .pt), of
            the same network, conditions, schedule and prediction. A model restored from its own checkpoint needs it no
            more.
        adapter: train low-rank adapters of the denoiser instead of its weights; they join it after `initial_weights`.
        autoencoder: makes latents of pictures and pictures of latents, such as `VQNetwork`; frozen, in eval mode.
            None: the denoiser sees pictures.
        autoencoder_weights: checkpoint of the `VQAutoencoder` that trained it. A model restored from its own checkpoint
            needs it no more.
        latent_scale: factor of latents before they meet noise; None brings them to a spread of 1.
        optimizer: optimizer factory.
        lr_scheduler: learning-rate scheduler factory, stepped once per optimizer step; None keeps the rate.
        seed: with step and rank fixes the randomness of training; with the face's index, that of sampling.

    Raises:
        FileNotFoundError: when `initial_weights` or `autoencoder_weights` does not exist.
        ValueError: when `initial_weights` or `autoencoder_weights` is damaged or of another config, which is named; a
            target of the adapter is no layer of the denoiser; or `latent_scale` is not positive.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        conditioners: list[Conditioner],
        schedule: NoiseSchedule,
        prediction_type: PredictionType = "eps",
        weighting: LossWeighting | None = None,
        contrast: SceneContrast | None = None,
        num_inference_steps: int = 20,
        spacing: Spacing = even_spacing,
        initial_weights: str | None = None,
        adapter: LowRankAdapter | None = None,
        autoencoder: Autoencoder | None = None,
        autoencoder_weights: str | None = None,
        latent_scale: float | None = 1.0,
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
        self.contrast = contrast
        self.spacing = spacing
        self.timesteps = spacing(num_inference_steps, schedule)
        """Steps that sampling and inverting visit, ascending; another grid may take its place."""
        if latent_scale is not None and latent_scale <= 0:
            raise ValueError(f"latent_scale: expected a positive number, or None, got {latent_scale}")
        self.latent_scale = latent_scale
        self.autoencoder = None if autoencoder is None else autoencoder.requires_grad_(False).eval()
        if autoencoder_weights is not None:
            if autoencoder is None:
                raise ValueError("autoencoder_weights: there is no autoencoder to give them to; give `autoencoder` too")
            load_part(autoencoder, autoencoder_weights, "network", "autoencoder_weights")
        if initial_weights is not None:
            load_initial_weights(initial_weights, self, self.hparams, schedule)
        if adapter is not None:
            adapter.attach(denoiser)

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
        return cls(
            unet,
            [buffers, GlobalCodeConditioner(encoder)],
            LinearSchedule(),
            weighting=P2Weighting(),
            spacing=strided_spacing,  # "ddim20"
        )

    @classmethod
    def from_diffae(
        cls,
        path: str | Path,
        expression: ExpressionCodeConditioner | None = None,
        subspace: ExpressionSubspace | None = None,
    ) -> Self:
        """A diffusion autoencoder from its own file: network, semantic encoder, loss and sampling grid.

        Args:
            path: the Lightning checkpoint as given out, or `.safetensors` of the same names.
            expression: joins the semantic code, starting as no change; None keeps the plain autoencoder.
            subspace: neutralises the expression that the semantic code holds.

        Raises:
            FileNotFoundError: when there is no such file.
            ValueError: when it is damaged or another file.
        """
        unet, encoder = read_diffae(path)
        semantic = SemanticCodeConditioner(encoder)
        conditioner: Conditioner = semantic
        if expression is not None:
            unet.add_vector(VectorModulation(expression.name, expression.dim, zero_init=True))
            conditioner = ExpressiveSemanticConditioner(semantic, expression, encoder.dim, subspace=subspace)
        return cls(unet, [conditioner], LinearSchedule(), spacing=strided_spacing)  # "ddim20"

    def set_steps(self, num_inference_steps: int) -> None:
        """Sample and invert in so many steps from now on, spread over the schedule by the model's `spacing`.

        Raises:
            ValueError: when the spacing has no such number of steps; the message names those near it.
        """
        self.timesteps = self.spacing(num_inference_steps, self.schedule)

    def train(self, mode: bool = True) -> Self:
        """The autoencoder stays in eval mode."""
        super().train(mode)
        if self.autoencoder is not None:
            self.autoencoder.eval()
        return self

    def encode(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """What the denoiser works on, of pictures in [0, 1]: themselves in [-1, 1], or their scaled latents."""
        if self.autoencoder is None:
            return to_signed(image)
        with torch.no_grad():
            latent = self.autoencoder.encode(to_signed(image)).to(image.dtype)  # in lower precision under autocast
            return latent * self._scale(self.autoencoder)

    def decode(self, x_0: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch 3 height width"]:
        """Pictures in [0, 1] of what the denoiser works on; gradients reach it."""
        if self.autoencoder is not None:
            x_0 = self.autoencoder.decode(x_0 / self._scale(self.autoencoder)).to(x_0.dtype)
        return to_unit(x_0).clamp(0, 1)

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
        self,
        batch: FaceBatch,
        t: Int[Tensor, " batch"],
        eps: Float[Tensor, "batch 3 height width"],
        contrast: SceneContrast | None = None,
    ) -> Float[Tensor, " batch"]:
        """Weighted mean squared error of the prediction, per face.

        Args:
            batch: faces with what the conditioners need.
            t: timestep of each face.
            eps: standard normal noise.
            contrast: of the scenes that the batch is made of, which share t and eps.
        """
        x_0 = self.encode(batch["image"])
        x_t = self.schedule.add_noise(x_0, eps, t)
        prediction = self(x_t, t, self.condition(batch))
        target = self.schedule.target(x_0, eps, t, self.prediction_type)
        if contrast is not None:
            prediction = target + contrast.stretch(prediction - target)
        weight = None if self.weighting is None else self.weighting(self.schedule.snr(t), self.prediction_type)
        return denoising_loss(prediction, target, weight)

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Denoise at random timesteps, spread evenly over the batch.

        Each is uniform, but together they cover the schedule, which lowers the variance of the loss (Kingma et
        al., "Variational Diffusion Models", 2021, appendix I.1).
        """
        image, contrast = batch["image"], self.contrast
        n = len(image) if contrast is None else contrast.scenes(len(image))
        t = self._timesteps(n)
        eps = torch.randn(n, *self._shape(image), dtype=image.dtype, device=image.device)
        if contrast is None:
            loss = self.denoising_loss(batch, t, eps).mean()
        else:
            loss = self.denoising_loss(batch, contrast.share(t), contrast.share(eps), contrast).mean()
        self.log("train/loss", loss, prog_bar=True, batch_size=len(image))
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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a later stage compares; drop the earlier stage, whose weights are no longer needed."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[NOISE_LEVELS] = self.schedule.alphas_cumprod
        stored = checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY)
        if stored:
            earlier = {name: None for name in ("initial_weights", "autoencoder_weights") if name in stored}
            checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = {**stored, **earlier}

    @torch.no_grad()
    def sample(
        self, conditioning: Conditioning, noise: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Paint pictures in [0, 1] from noise by DDIM."""
        return self._path().paint(self._bind(conditioning), noise)

    @torch.no_grad()
    def invert(
        self, image: Float[Tensor, "batch 3 height width"], conditioning: Conditioning, strength: float = 1.0
    ) -> Float[Tensor, "batch 3 height width"]:
        """Find the noise x_T from which DDIM paints pictures in [0, 1] again.

        Args:
            image: RGB in [0, 1].
            conditioning: conditions of these pictures.
            strength: below 1, stop at that share of the schedule, for an `edit` of that strength.
        """
        return self._path(strength=strength).invert(self._bind(conditioning), image)

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
        guidance_scale: float = 1.0,
        sampler: Sampler = "ddim",
        eta: float = 0.0,
        strength: float = 1.0,
        residual: bool = False,
        blend: bool = False,
    ) -> Float[Tensor, "batch 3 height width"]:
        """Paint the faces of a batch anew, with other codes, another expression or another photo's global code.

        Args:
            batch: the sources: `image`, what the conditioners need (`codes` for buffers), and `index` when starting
                from noise or with `eta`. Its `target_label`, `target_strength`, `target_va` and `target_image` ask
                conditioners of expression for an edit.
            codes: codes wanted; None keeps the sources'.
            donor: photos in [0, 1] whose global code is wanted; None keeps the sources'.
            start: "inverted" starts from the sources' inverted latents, which keeps hair, background and
                skin; "noise" from each face's own noise.
            release: how far an inverted latent lets go of the source where the edit changes the spatial
                conditions, 0 to 1. It still holds what was painted there, the old mouth under the new one, so
                there its noise is scaled by `1 - release * min(1, |change|)`, |change| being the largest over the
                channels; elsewhere it stays, and so does the photograph. Costs nothing.
            temperature: factor of the noise when starting from noise; below 1 the pictures get likelier and
                smoother, which hides the grain of a rig that has trained little.
            latent: the sources' inverted latents, from `invert` with the same strength, where several edits share them;
                None inverts here.
            guidance_scale: classifier-free guidance towards the wanted conditions, for models trained with dropped
                ones; 1 is the plain model and costs one evaluation a step instead of two.
            sampler: "ddim", or "dpm" for DPM-Solver++(2M), which needs fewer steps. Inversion is always DDIM's.
            eta: how random DDIM is, 0 to 1; the numbers are each face's own.
            strength: how far up the schedule an edit starts, 0 < strength <= 1. Below 1 less of the source is lost and
                less of it can change: inverted latents are those of that step (DiffusionCLIP's t_0), and noise joins
                the source instead of replacing it (SDEdit).
            residual: add to the source what the edit changes, `source + edit - reconstruction`, the latter painted from
                the same latent with the sources' conditions: what the rig cannot paint stays. One more chain.
            blend: keep the source where the edit leaves the spatial conditions alone (`diffusion.changing`), though a
                global code or an expression vector may change them.

        Returns:
            The edited photographs, RGB in [0, 1].

        Raises:
            StructError: when codes are not finite or of another space.
            ValueError: when a number is out of range, `eta` meets "dpm", `residual` meets "noise", `blend` finds no
                spatial conditions, or the batch lacks its `index`.

        Example:
            >>> latent = rig.invert(batch["image"], rig.condition(batch), strength=0.6)  # doctest: +SKIP
            >>> smile = rig.edit(batch, codes=smiling, latent=latent, strength=0.6, residual=True)  # doctest: +SKIP
        """
        _check_edit({"release": release, "temperature": temperature}, start, residual)
        path = self._path(sampler, eta, strength)
        source, target = _source(batch), self._target(batch, codes, donor)
        wanted = self.condition(target)
        own = self.condition(source) if start == "inverted" or blend else wanted
        share = changing(own, wanted) if blend else None
        noise, draws = self._draws(batch) if start == "noise" or eta > 0 else (None, None)
        image = batch["image"]
        if noise is not None and start == "noise":
            x_t = path.noised(image, temperature * noise)
            edit = path.paint(self._guided(target, wanted, guidance_scale), x_t, draws)
        else:
            x_t = self.invert(image, own, strength) if latent is None else latent
            hold = released(own, wanted, release)
            held = x_t if hold is None else path.loosened(x_t, image, hold)
            edit = path.paint(self._guided(target, wanted, guidance_scale), held, draws)
            if residual:
                again = self._draws(batch)[1] if eta > 0 else None
                kept = path.paint(self._guided(source, own, guidance_scale), x_t, again)
                edit = (image + edit - kept).clamp(0, 1)
        return edit if share is None else torch.lerp(image, edit, share)

    def _timesteps(self, n: int) -> Int[Tensor, " n"]:
        u = (torch.rand(1, device=self.device) + torch.arange(n, device=self.device) / n) % 1
        return (u * self.schedule.num_steps).long().clamp(max=self.schedule.num_steps - 1)

    def _conditioners(self) -> list[Conditioner]:
        return [conditioner for conditioner in self.conditioners if isinstance(conditioner, Conditioner)]

    def _bind(self, conditioning: Conditioning) -> Denoiser:
        return lambda x_t, t: self(x_t, t, conditioning)

    def _guided(self, faces: FaceBatch, conditioning: Conditioning, guidance_scale: float) -> Denoiser:
        if guidance_scale == 1:
            return self._bind(conditioning)
        nothing = Conditioning.merge([c.unconditional(faces) for c in self._conditioners()])
        return classifier_free_guidance(self._bind(conditioning), self._bind(nothing), guidance_scale)

    def _path(self, sampler: Sampler = "ddim", eta: float = 0.0, strength: float = 1.0) -> NoisePath:
        return NoisePath(
            self.schedule,
            self.timesteps,
            self.prediction_type,
            sampler,
            eta,
            strength,
            encode=self.encode,
            decode=self.decode,
            clip=self.autoencoder is None,
        )

    def _target(self, batch: FaceBatch, codes: FaceCodes | None, donor: Tensor | None) -> FaceBatch:
        """The batch as it is wanted."""
        if "codes" in batch:
            batch["codes"].require_finite()
        target = FaceBatch(**batch)
        if codes is not None:
            target["codes"] = codes.require_finite().require_space(batch["codes"].space)
        if donor is not None:
            target["image"] = donor
        return target

    def _draws(self, batch: FaceBatch) -> tuple[Tensor, list[torch.Generator]]:
        """Each face's own noise, and the generators that it came from, to draw more."""
        if "index" not in batch:
            raise ValueError(
                'index: expected the faces\' numbers, which fix their noise; add batch["index"], int (batch,)'
            )
        generators = face_generators(self.seed, batch["index"])
        image = batch["image"]
        return draw_noise((len(image), *self._shape(image)), generators).to(image), generators

    def _noise(self, batch: FaceBatch) -> Tensor:
        return self._draws(batch)[0]

    def _shape(self, image: Tensor) -> tuple[int, ...]:
        """Channels, height and width of what the denoiser sees."""
        if self.autoencoder is None:
            return tuple(image.shape[1:])
        height, width = (side // self.autoencoder.factor for side in image.shape[-2:])
        return self.autoencoder.latent_channels, height, width

    def _scale(self, autoencoder: Autoencoder) -> Tensor | float:
        return 1 / autoencoder.spread if self.latent_scale is None else self.latent_scale

    def _fixed_loss(self, batch: FaceBatch, stage: str) -> Tensor:
        # The golden ratio spreads the timesteps of consecutive faces evenly over the schedule.
        t = ((batch["index"].double() * 0.6180339887498949) % 1.0 * self.schedule.num_steps).long()
        loss = self.denoising_loss(batch, t, self._noise(batch)).mean()
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=batch["image"].shape[0])
        return loss


def _source(batch: FaceBatch) -> FaceBatch:
    """The batch without what is wanted of it."""
    own: FaceBatch = {k: v for k, v in batch.items() if not k.startswith("target_")}  # type: ignore[assignment]
    return own


def _check_edit(shares: Mapping[str, float], start: str, residual: bool) -> None:
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: expected a number from 0 to 1, got {value}")
    if start not in ("inverted", "noise"):
        raise ValueError(f"start: expected inverted or noise, got {start!r}")
    if residual and start == "noise":
        raise ValueError('residual: noise holds no source to reconstruct; use start="inverted", or blend')
