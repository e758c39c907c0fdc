"""One emotion, learned from its description."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import Self

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.diffusion.autoencoder import Autoencoder
from diffrig_emo.diffusion.low_rank import LowRankAdapter
from diffrig_emo.diffusion.partial_inversion import partial_timesteps
from diffrig_emo.diffusion.samplers import Denoiser
from diffrig_emo.diffusion.schedules import NoiseSchedule, PredictionType
from diffrig_emo.losses.changed_pixels import change_around
from diffrig_emo.losses.text_direction import text_direction_loss
from diffrig_emo.metrics.functional.emotion import EMOTIONS
from diffrig_emo.modules.diffusion import FaceDiffusion
from diffrig_emo.modules.emotion_editor import label_denoiser, paint_partially
from diffrig_emo.perception.text_image import FACE_WORDS, TextImageEmbedder
from diffrig_emo.perception.text_templates import PHOTO_TEMPLATES
from diffrig_emo.structures import FaceBatch


class EmotionFinetuning(FaceDiffusion):
    """Finetune a latent emotion model for one emotion, by what a text says (Pikoulis et al. 2023, section 3.3).

    From inverted latents, computed before (`InvertedFacesDataModule`), a short chain paints the emotion with gradients
    through all of it. Pictures should change as the texts "sad face" and "happy face" differ, and keep identity and
    pixels. The denoiser learns; autoencoder and label embeddings stay. Every emotion has a run of its own.

    Args:
        denoiser: as for `FaceDiffusion`.
        conditioners: as for `FaceDiffusion`; frozen.
        schedule: as for `FaceDiffusion`.
        embedder: puts texts and pictures into one space, such as `perception.ClipEmbedder`; frozen.
        target: the emotion: "neutral", "happy", "sad", "surprise", "fear", "disgust", "anger" or "contempt".
        identity: pictures in [0, 1] to identity embeddings (B, D), such as `perception.ArcFaceEmbedder`; frozen. None
            leaves the identity loss out.
        direction_weight: weight of `text_direction_loss`.
        description_weight: weight of `1 - cosine` between the picture and the text wanted, whatever it was before.
        identity_weight: weight of `1 - cosine` between the identities.
        pixel_weight: weight of the mean squared difference of the pictures in [-1, 1].
        truth_weight: weight of the same difference to `batch["true_edit"]`, where the same people were photographed
            with the emotion. What a text or a recogniser asks for has many pictures; this is the one.
        changed_weight: how much more a pixel counts in that where the true edit changes most; elsewhere in proportion.
        templates: sentences around the descriptions; their unit embeddings are averaged.
        strength: how far up the latents are, as a share of the schedule.
        chain_steps: steps of the chain in training.
        num_inference_steps: steps in validation, and of `predict`.
        checkpointing: recompute each step's activations in the backward pass instead of keeping them.
        prediction_type: as for `FaceDiffusion`.
        initial_weights: checkpoint of the latent emotion model.
        adapter: train low-rank adapters instead of all weights of the denoiser; targets of a `CrossAttentionUNet` are
            `to_q`, `to_k`, `to_v`, `to_out`, `conv1`, `conv2`.
        autoencoder: as for `FaceDiffusion`.
        latent_scale: as for `FaceDiffusion`.
        optimizer: as for `FaceDiffusion`.
        lr_scheduler: as for `FaceDiffusion`.
        seed: as for `FaceDiffusion`.

    Raises:
        ValueError: when the emotion is unknown, or a number out of range; at the start of training, when the latents
            are at another level than `strength` says.
    """

    def __init__(
        self,
        denoiser: nn.Module,
        conditioners: list[Conditioner],
        schedule: NoiseSchedule,
        embedder: TextImageEmbedder,
        target: str,
        identity: nn.Module | None = None,
        direction_weight: float = 1.0,
        description_weight: float = 0.0,
        identity_weight: float = 1.0,
        pixel_weight: float = 1.0,
        truth_weight: float = 0.0,
        changed_weight: float = 0.0,
        templates: Sequence[str] = PHOTO_TEMPLATES,
        strength: float = 0.5,
        chain_steps: int = 6,
        num_inference_steps: int = 40,
        checkpointing: bool = True,
        prediction_type: PredictionType = "eps",
        initial_weights: str | None = None,
        adapter: LowRankAdapter | None = None,
        autoencoder: Autoencoder | None = None,
        latent_scale: float | None = 1.0,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        if target not in EMOTIONS:
            raise ValueError(f"target: expected one of {', '.join(EMOTIONS)}, got {target!r}")
        weights = {
            "direction_weight": direction_weight,
            "description_weight": description_weight,
            "identity_weight": identity_weight,
            "pixel_weight": pixel_weight,
            "truth_weight": truth_weight,
        }
        for name, value in {**weights, "changed_weight": changed_weight}.items():
            if value < 0:
                raise ValueError(f"{name}: expected at least 0, got {value}")
        if changed_weight > 0 and truth_weight == 0:
            raise ValueError(
                f"changed_weight: {changed_weight} weighs true edits, but truth_weight is 0; raise that, too"
            )
        if not templates or not all("{}" in template for template in templates):
            raise ValueError("templates: expected sentences with {} where the description goes")
        super().__init__(
            denoiser,
            conditioners,
            schedule,
            prediction_type=prediction_type,
            num_inference_steps=num_inference_steps,
            initial_weights=initial_weights,
            adapter=adapter,
            autoencoder=autoencoder,
            latent_scale=latent_scale,
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
            seed=seed,
        )
        self.conditioners.requires_grad_(False)
        self.embedder = embedder.requires_grad_(False)
        self.identity = None if identity is None else identity.requires_grad_(False)
        self.target = EMOTIONS.index(target)
        self.weights = weights
        self.changed_weight = changed_weight
        self.templates = list(templates)
        self.chain = partial_timesteps(chain_steps, strength, schedule.num_steps)
        self.timesteps = partial_timesteps(num_inference_steps, strength, schedule.num_steps)
        self.checkpointing = checkpointing
        self._descriptions: Tensor | None = None
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Frozen networks stay in eval mode; so do the conditioners, which would drop labels."""
        super().train(mode)
        for part in (self.conditioners, getattr(self, "embedder", None), getattr(self, "identity", None)):
            if part is not None:
                part.eval()
        return self

    def on_fit_start(self) -> None:
        """Refuse latents of another level."""
        check_level(self, self.chain[-1])

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Paint the emotion by the short chain, and weigh what came of it."""
        return self._weigh(batch, self.paint(batch, self.chain), "train")

    def paint(self, batch: FaceBatch, timesteps: list[int]) -> Float[Tensor, "batch 3 height width"]:
        """The faces with the emotion, RGB in [0, 1]; gradients reach the denoiser.

        Raises:
            ValueError: when the batch has no latents.
        """
        if "latent" not in batch:
            raise ValueError(
                "latent: EmotionFinetuning needs inverted latents in the batch; make them by diffrig-emo "
                "invert-emotions and take InvertedFacesDataModule"
            )
        denoiser = label_denoiser(self, batch, torch.full_like(batch["label"], self.target))
        if self.checkpointing and torch.is_grad_enabled():
            denoiser = _checkpointed(denoiser)
        return paint_partially(self, denoiser, batch["latent"], timesteps)

    def losses(
        self, edit: Float[Tensor, "batch 3 height width"], batch: FaceBatch
    ) -> dict[str, Float[Tensor, " batch"]]:
        """What is wrong with edits of a batch, not weighted yet: by name, one number per face.

        Raises:
            ValueError: when true edits are weighed and the batch has none.
        """
        image = batch["image"]
        descriptions = self.descriptions()
        # A face that nothing is known of, or that shows the emotion already, was described by no emotion.
        own = batch["label"].masked_fill(batch["label"] == self.target, -1).clamp(min=-1)
        wanted = descriptions[self.target].expand(len(own), -1)
        embedded = self.embedder.embed_image(edit)
        with torch.no_grad():
            before = self.embedder.embed_image(image)
        found = {"direction": text_direction_loss(embedded, before, wanted - descriptions[own])}
        if self.weights["description_weight"] > 0:
            found["description"] = 1 - F.cosine_similarity(embedded, wanted, dim=1)
        if self.identity is not None:
            with torch.no_grad():
                person = self.identity(image)
            found["identity"] = 1 - F.cosine_similarity(self.identity(edit), person, dim=1)
        found["pixel"] = (2 * (edit - image)).square().flatten(1).mean(dim=1)
        if self.weights["truth_weight"] > 0:
            if "true_edit" not in batch:
                raise ValueError(
                    "true_edit: truth_weight needs the faces with the emotion in the batch; give "
                    "InvertedFacesDataModule true_edits, or leave truth_weight at 0"
                )
            counts = 1 + self.changed_weight * change_around(image, batch["true_edit"])
            found["truth"] = (counts * (2 * (edit - batch["true_edit"])).square()).flatten(1).mean(dim=1)
        return found

    @torch.no_grad()
    def descriptions(self) -> Float[Tensor, "emotions_and_none dim"]:
        """Unit embeddings of "happy face" and so on, by label; the last row, -1, is that of "face".

        Neutral and contempt are described as just a face, unless they are wanted.
        """
        if self._descriptions is None or self._descriptions.device != self.device:
            rows = []
            for label, word in [*enumerate(FACE_WORDS), (-1, "")]:
                plain = label in (-1, 0, len(FACE_WORDS) - 1) and label != self.target
                subject = "face" if plain else f"{word} face"
                embedded = self.embedder.embed_text([template.format(subject) for template in self.templates])
                rows.append(F.normalize(F.normalize(embedded, dim=1).mean(dim=0), dim=0))
            self._descriptions = torch.stack(rows).to(self.device)
        return self._descriptions

    def validation_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """The same by the longer chain of inference."""
        return self._weigh(batch, self.paint(batch, self.timesteps), "val")

    def test_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """The same on test faces."""
        return self._weigh(batch, self.paint(batch, self.timesteps), "test")

    def predict_step(self, batch: FaceBatch, batch_idx: int = 0) -> Float[Tensor, "batch 3 height width"]:
        """The faces with the emotion, RGB in [0, 1]."""
        return self.paint(batch, self.timesteps)

    def _weigh(self, batch: FaceBatch, edit: Tensor, stage: str) -> Tensor:
        losses = {name: values.mean() for name, values in self.losses(edit, batch).items()}
        loss = torch.stack([self.weights[f"{name}_weight"] * value for name, value in losses.items()]).sum()
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=len(edit))
        self.log_dict({f"{stage}/{name}": value for name, value in losses.items()}, batch_size=len(edit))
        return loss


def check_level(module: L.LightningModule, last_step: int) -> None:
    """Refuse to train on latents of another level.

    Args:
        module: what is about to train.
        last_step: step of the schedule that it takes latents to be at.

    Raises:
        ValueError: when they are at another one.
    """
    last: Any = getattr(getattr(module.trainer, "datamodule", None), "last_step", last_step)
    if last != last_step:
        raise ValueError(
            f"strength: the latents are at step {last}, but the way down starts at step {last_step}; give both the "
            "same strength"
        )


def _checkpointed(denoiser: Denoiser) -> Denoiser:
    def evaluate(x_t: Tensor, t: Tensor) -> Tensor:
        prediction: Tensor = checkpoint(denoiser, x_t, t, use_reentrant=False)
        return prediction

    return evaluate
