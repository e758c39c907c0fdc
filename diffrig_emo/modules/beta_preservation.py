"""Stage two of expression editing: nothing but the expression may change."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.conditioning.buffers import BufferConditioner
from diffrig_emo.conditioning.reencode import reencode
from diffrig_emo.diffusion.edit_chains import EditChain, EditSample, TruncatedEdit
from diffrig_emo.diffusion.editing import released
from diffrig_emo.diffusion.low_rank import LowRankAdapter
from diffrig_emo.diffusion.schedules import NoiseSchedule, PredictionType
from diffrig_emo.diffusion.timesteps import Spacing, even_spacing
from diffrig_emo.io.checkpoints import load_part
from diffrig_emo.losses.diffusion import LossWeighting
from diffrig_emo.losses.preservation import PreservationLoss
from diffrig_emo.modules.diffusion import FaceDiffusion
from diffrig_emo.morphable.base import MorphableEncoder
from diffrig_emo.structures import Conditioning, FaceBatch, FaceCodes, FaceCrop
from diffrig_emo.transforms.edits import transfer_expression
from diffrig_emo.transforms.ranges import to_signed, to_unit


class BetaPreservation(FaceDiffusion):
    """Finetune a trained rig so that its edits keep identity, texture, light and pose.

    Every source is edited to another face's expression; a frozen 3DMM encoder reads codes off source and edit; what
    drifted between the two is penalised, and so is an expression that was not reached. `chain` decides how the loss
    reaches the denoiser. Two regularisers keep what stage one learned: its own denoising loss on the sources, and
    the distance of the denoiser's predictions from those of a frozen copy of stage one on the edited conditions.
    Average the weights besides (`callbacks.WeightEMA`).

    Never judge the result with `encoder`, which it was trained to please: measure with another one.

    Args:
        denoiser: as for `FaceDiffusion`.
        conditioners: as for `FaceDiffusion`; freeze a global encoder (`frozen: true`).
        schedule: as for `FaceDiffusion`.
        encoder: reads codes off pictures; frozen, always in eval mode.
        encoder_weights: checkpoint of the `FaceEncoder` that trained it; None for one that brings its own weights
            (DECA, EMOCA).
        chain: how edits are made in training; None is `TruncatedEdit()`.
        preservation: what counts as drift; None is `PreservationLoss()`, without a floor: measure one.
        identity: network from pictures (B, 3, H, W) in [0, 1] to identity embeddings (B, D), frozen; None leaves the
            identity loss out.
        preservation_weight: weight of the preservation loss.
        identity_weight: weight of `1 - cosine` between the embeddings of source and edit.
        denoising_weight: weight of stage one's loss.
        reference_weight: weight of the mean squared distance from stage one's predictions.
        stillness_weight: weight of the mean squared difference of source and edit where the edit leaves the spatial
            conditions as they are; a pixel counts by `1 - min(1, 10 |change|)`. An encoder overlooks small changes
            all over a picture that its drift is made of; pixels do not.
        release: as for `FaceDiffusion.edit`, in training and as far as the chain starts from an inverted latent.
        prediction_type: as for `FaceDiffusion`.
        weighting: as for `FaceDiffusion`.
        num_inference_steps: as for `FaceDiffusion`.
        spacing: as for `FaceDiffusion`.
        initial_weights: checkpoint of stage one.
        adapter: train low-rank adapters instead of all weights.
        optimizer: as for `FaceDiffusion`.
        lr_scheduler: as for `FaceDiffusion`.
        seed: as for `FaceDiffusion`.

    Raises:
        ValueError: when encoder and rig are built for different code spaces, code sizes or crops, or the stage-one
            checkpoint is of another config.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        conditioners: list[Conditioner],
        schedule: NoiseSchedule,
        encoder: MorphableEncoder,
        encoder_weights: str | None = None,
        chain: EditChain | None = None,
        preservation: PreservationLoss | None = None,
        identity: nn.Module | None = None,
        preservation_weight: float = 1.0,
        identity_weight: float = 0.1,
        denoising_weight: float = 1.0,
        reference_weight: float = 1.0,
        stillness_weight: float = 0.0,
        release: float = 0.5,
        prediction_type: PredictionType = "eps",
        weighting: LossWeighting | None = None,
        num_inference_steps: int = 20,
        spacing: Spacing = even_spacing,
        initial_weights: str | None = None,
        adapter: LowRankAdapter | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            denoiser,
            conditioners,
            schedule,
            prediction_type=prediction_type,
            weighting=weighting,
            num_inference_steps=num_inference_steps,
            spacing=spacing,
            initial_weights=initial_weights,
            adapter=adapter,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            seed=seed,
        )
        if encoder_weights is not None:
            load_part(encoder, encoder_weights, "encoder", "encoder_weights")
        self.encoder = encoder.requires_grad_(False)
        self.identity = identity.requires_grad_(False) if identity is not None else None
        self.chain = chain or TruncatedEdit()
        self.preservation = preservation or PreservationLoss()
        self.preservation_weight = preservation_weight
        self.identity_weight = identity_weight
        self.denoising_weight = denoising_weight
        self.reference_weight = reference_weight
        self.stillness_weight = stillness_weight
        self.release = release
        self.reference = copy.deepcopy(denoiser).requires_grad_(False) if reference_weight > 0 else None
        self._check_encoder()
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Frozen networks stay in eval mode."""
        super().train(mode)
        for frozen in (self.encoder, self.identity, self.reference):
            if frozen is not None:
                frozen.eval()
        return self

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Edit every face to another's expression and weigh what went wrong."""
        target, reading = self.targets(batch)
        own, wanted = self.condition(batch), self.condition(FaceBatch(**{**batch, "codes": target}))
        sample = self.draw(batch, own, wanted)
        losses = self.drift(batch, sample, reading)
        loss = self.preservation_weight * torch.stack(list(losses.values())).sum()
        if self.stillness_weight > 0:
            losses["stillness"] = self.stillness(batch, sample, own, wanted)
            loss = loss + self.stillness_weight * losses["stillness"]
        size = len(batch["image"])
        if self.denoising_weight > 0:
            eps = torch.randn_like(batch["image"])
            losses["denoising"] = self.denoising_loss(batch, self._timesteps(size), eps).mean()
            loss = loss + self.denoising_weight * losses["denoising"]
        if self.reference is not None:
            losses["reference"] = self._reference_distance(self.reference, batch, wanted)
            loss = loss + self.reference_weight * losses["reference"]
        self.log("train/loss", loss, prog_bar=True, batch_size=size)
        self.log_dict({f"train/{name}": value for name, value in losses.items()}, batch_size=size)
        return loss

    def targets(self, batch: FaceBatch) -> tuple[FaceCodes, FaceCodes]:
        """Codes to edit to, and as the encoder should read them.

        Where the batch brings no `target_codes`, every face takes the expression of the next. The encoder's reading of
        that face is then what an edit must reach: comparing readings with readings leaves the encoder's own bias out.

        Returns:
            Codes for the conditioners, and codes for `drift`.
        """
        codes = batch["codes"]
        self._check_crop(codes)
        if "target_codes" in batch:
            return batch["target_codes"], batch["target_codes"]
        donors = torch.arange(codes.batch_size, device=codes.exp.device).roll(-1)
        with torch.no_grad():
            read = reencode(self.encoder, batch["image"], codes.tform)
        return transfer_expression(codes, codes[donors]), transfer_expression(read, read[donors])

    def draw(self, batch: FaceBatch, own: Conditioning, wanted: Conditioning) -> EditSample:
        """Edit the sources by the chain; gradients reach the denoiser."""
        return self.chain(
            to_signed(batch["image"]),
            self._bind(own),
            self._bind(wanted),
            self.schedule,
            self.prediction_type,
            released(own, wanted, self.release),
        )

    def drift(self, batch: FaceBatch, sample: EditSample, target: FaceCodes) -> dict[str, Float[Tensor, ""]]:
        """Preservation losses by group, and the identity loss: means over the faces, weighted by their trust."""
        image, edit = batch["image"], to_unit(sample.x_0).clamp(0, 1)
        tform = batch["codes"].tform
        with torch.no_grad():
            source = reencode(self.encoder, image, tform)
        losses = self.preservation(source, reencode(self.encoder, edit, tform), target)
        if self.identity is not None:
            with torch.no_grad():
                before = self.identity(image)
            losses["identity"] = self.identity_weight * (1 - F.cosine_similarity(before, self.identity(edit)))
        return {name: (sample.weight * value).mean() for name, value in losses.items()}

    def stillness(
        self, batch: FaceBatch, sample: EditSample, own: Conditioning, wanted: Conditioning
    ) -> Float[Tensor, ""]:
        """Mean squared difference of source and edit, in [-1, 1], over the pixels that the edit leaves alone.

        Raises:
            ValueError: when there are no spatial conditions to tell which they are.
        """
        still = released(own, wanted, 1.0, sharpness=10.0)
        if still is None:
            raise ValueError("stillness_weight: no conditioner gives spatial conditions to tell what changes")
        moved = (sample.x_0 - to_signed(batch["image"])).square() * still
        return (sample.weight * moved.flatten(1).mean(dim=1)).mean()

    def validation_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Stage one's loss, and the drift of edits made as at inference, read by the training encoder."""
        loss = super().validation_step(batch, batch_idx)
        target, reading = self.targets(batch)
        edit = self.edit(batch, codes=target, release=self.release)
        sample = EditSample(to_signed(edit), torch.ones_like(edit[:, 0, 0, 0]))
        losses = self.drift(batch, sample, reading)
        names = {"shape": "beta_drift", "exp": "expression_error"}
        self.log_dict({f"val/{names.get(k, k)}": v for k, v in losses.items()}, batch_size=len(edit))
        return loss

    def _reference_distance(self, reference: nn.Module, batch: FaceBatch, wanted: Conditioning) -> Tensor:
        x_0 = to_signed(batch["image"])
        t = self._timesteps(len(x_0))
        x_t = self.schedule.add_noise(x_0, torch.randn_like(x_0), t)
        with torch.no_grad():
            expected = reference(x_t, t, wanted)
        return F.mse_loss(self(x_t, t, wanted), expected)

    def _check_crop(self, codes: FaceCodes) -> None:
        for bridge in self.conditioners:
            if codes.tform is None or not isinstance(bridge, BufferConditioner):
                continue
            crop, size = bridge.renderer.crop_size, self.encoder.image_size
            if crop != size:
                raise ValueError(
                    f"BetaPreservation: encoder wants crops of {size} x {size} pixels, but the rig's renderer and the "
                    f"codes' tform speak of crops of {crop}; use the encoder that gave the codes"
                )

    def _check_encoder(self) -> None:
        """Compare encoder and rig on one grey picture, before any training."""
        size = self.encoder.image_size
        with torch.no_grad():
            self.encoder.eval()
            codes = self.encoder(FaceCrop(image=torch.full((1, 3, size, size), 0.5)))
        for bridge in self.conditioners:
            if not isinstance(bridge, BufferConditioner):
                continue
            model = bridge.face_model
            wanted = {"shape": model.n_shape, "exp": model.n_exp, "tex": bridge.texture.n_tex}
            if codes.space != model.space:
                raise ValueError(
                    f"BetaPreservation: encoder reads codes of space {codes.space!r}, but the rig's face model wants "
                    f"{model.space!r}; give both the same space"
                )
            for name, number in wanted.items():
                got = getattr(codes, name).shape[1]
                if got != number:
                    raise ValueError(
                        f"BetaPreservation: the rig's {name} codes have {number} numbers, but encoder reads {got}; "
                        f"build the encoder with as many (DECA: 100 shape, 50 tex, 50 exp)"
                    )
