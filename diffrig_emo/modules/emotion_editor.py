"""Another emotion for a photograph, by its label alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from typing_extensions import Self

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.diffusion.guidance import classifier_free_guidance
from diffrig_emo.diffusion.partial_inversion import invert_ahead, partial_timesteps
from diffrig_emo.diffusion.samplers import Denoiser, ddim_sample
from diffrig_emo.metrics.functional.emotion import EMOTIONS
from diffrig_emo.modules.base import FaceModule
from diffrig_emo.modules.diffusion import FaceDiffusion
from diffrig_emo.perception.base import EmotionRecognizer
from diffrig_emo.structures import Conditioning, FaceBatch


class EmotionEditor(FaceModule):
    """Edit emotions with a diffusion model of labelled faces (Pikoulis, Filntisis and Maragos 2023, section 3.2).

    A photograph is inverted part of the way with its own label, and painted again with the label that is wanted, both
    by deterministic DDIM over `partial_timesteps` and under classifier-free guidance. Less strength keeps more of the
    face, more guidance shows more of the emotion. It trains nothing; `predict` edits to `batch["target_label"]`.

    Args:
        rig: the model; one of its conditioners reads labels, such as `EmotionLabelConditioner`.
        recognizer: tells the emotion of faces whose `label` is -1 or absent; None refuses them.
        num_inference_steps: steps up, and as many down.
        strength: how far up, as a share of the schedule: 0.5 is t_0 = 500 of 1000.
        guidance_scale: of the way down; 1 is the plain model and costs half.
        inversion_guidance: guidance of the way up; None takes the same, as is published. 1 inverts more exactly.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> editor = EmotionEditor(rig, guidance_scale=5.0)  # doctest: +SKIP
        >>> smiling = editor.edit(batch, torch.full_like(batch["label"], 1))  # doctest: +SKIP
    """

    def __init__(
        self,
        rig: FaceDiffusion,
        recognizer: EmotionRecognizer | None = None,
        num_inference_steps: int = 20,
        strength: float = 0.5,
        guidance_scale: float = 4.0,
        inversion_guidance: float | None = None,
    ) -> None:
        super().__init__()
        self.timesteps = partial_timesteps(num_inference_steps, strength, rig.schedule.num_steps)
        for name, value in {"guidance_scale": guidance_scale, "inversion_guidance": inversion_guidance}.items():
            if value is not None and value < 0:
                raise ValueError(f"{name}: expected a number of at least 0, got {value}")
        self.rig = rig
        self.recognizer = None if recognizer is None else recognizer.requires_grad_(False)
        self.guidance_scale = guidance_scale
        self.inversion_guidance = guidance_scale if inversion_guidance is None else inversion_guidance
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode: nothing is trained here, and no label may be dropped."""
        return super().train(False)

    @torch.no_grad()
    def source_label(self, batch: FaceBatch) -> Int[Tensor, " batch"]:
        """The faces' own emotions, 0..7: `label` where it is known, else what the recogniser sees.

        Raises:
            ValueError: when a label is unknown and there is no recogniser.
        """
        image = batch["image"]
        label = batch.get("label")
        if label is None:
            label = torch.full((len(image),), -1, device=image.device)
        unknown = label < 0
        if not unknown.any():
            return label
        if self.recognizer is None:
            raise ValueError(
                f"label: {int(unknown.sum())} of {len(label)} faces have no emotion label, which inversion needs; give "
                "EmotionEditor a recognizer"
            )
        seen = self.recognizer(image[unknown]).label.to(label)
        return label.masked_scatter(unknown, seen)

    @torch.no_grad()
    def invert(self, batch: FaceBatch) -> Float[Tensor, "batch channels h w"]:
        """Latents at the last of `timesteps`, found with the faces' own labels."""
        denoiser = self._labelled(batch, self.source_label(batch), self.inversion_guidance)
        return invert_ahead(
            denoiser,
            self.rig.encode(batch["image"]),
            self.rig.schedule,
            self.timesteps,
            prediction_type=self.rig.prediction_type,
        )

    @torch.no_grad()
    def regenerate(
        self, latent: Float[Tensor, "batch channels h w"], batch: FaceBatch, label: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Pictures of inverted latents with another label, RGB in [0, 1].

        Args:
            latent: what `invert` gave.
            batch: the faces, for conditioners that read more than the label.
            label: emotions wanted, 0..7.
        """
        return paint_partially(self.rig, self._labelled(batch, label, self.guidance_scale), latent, self.timesteps)

    def edit(self, batch: FaceBatch, label: Int[Tensor, " batch"]) -> Float[Tensor, "batch 3 height width"]:
        """Photographs with other emotions, RGB in [0, 1].

        Args:
            batch: the sources: `image`, and `label` where it is known.
            label: emotions wanted, 0..7.

        Raises:
            ValueError: as `source_label`, or when `label` is out of range.
        """
        if label.shape != batch["image"].shape[:1]:
            raise ValueError(f"label: expected one per face, ({len(batch['image'])},), got {tuple(label.shape)}")
        if bool(((label < 0) | (label >= len(EMOTIONS))).any()):
            raise ValueError(f"label: expected emotions 0 to {len(EMOTIONS) - 1}, got {label.tolist()}")
        return self.regenerate(self.invert(batch), batch, label)

    def reconstruct(self, batch: FaceBatch) -> Float[Tensor, "batch 3 height width"]:
        """What is left of photographs that are not edited at all: up and down with their own labels."""
        return self.edit(batch, self.source_label(batch))

    def predict_step(self, batch: FaceBatch, batch_idx: int = 0) -> Float[Tensor, "batch 3 height width"]:
        """Edit to `batch["target_label"]`; where that is -1 or absent, reconstruct."""
        own = self.source_label(batch)
        target = batch.get("target_label", own)
        return self.edit(FaceBatch(**{**batch, "label": own}), torch.where(target < 0, own, target))

    def _labelled(self, batch: FaceBatch, label: Tensor, guidance_scale: float) -> Denoiser:
        return label_denoiser(self.rig, batch, label, guidance_scale)


def label_denoiser(rig: FaceDiffusion, batch: FaceBatch, label: Tensor, guidance_scale: float = 1.0) -> Denoiser:
    """A model's denoiser under given labels instead of the batch's own.

    Args:
        rig: the model.
        batch: the faces; what it asks for as targets is left out.
        label: emotions (batch,), 0..7; -1 is the null embedding.
        guidance_scale: classifier-free guidance towards them; 1 is the plain model.
    """
    plain = {name: value for name, value in batch.items() if not name.startswith("target_")}
    faces = FaceBatch(**{**plain, "label": label})  # type: ignore[typeddict-item]
    denoiser = _bound(rig, rig.condition(faces))
    if guidance_scale == 1:
        return denoiser
    parts = [part.unconditional(faces) for part in rig.conditioners if isinstance(part, Conditioner)]
    return classifier_free_guidance(denoiser, _bound(rig, Conditioning.merge(parts)), guidance_scale)


def paint_partially(
    rig: FaceDiffusion, denoiser: Denoiser, latent: Tensor, timesteps: list[int]
) -> Float[Tensor, "batch 3 height width"]:
    """Pictures in [0, 1] from latents of `invert_ahead`; gradients reach the denoiser."""
    x_0 = ddim_sample(
        denoiser,
        latent,
        rig.schedule,
        timesteps,
        prediction_type=rig.prediction_type,
        clip=False,
        end=float(rig.schedule.alphas_cumprod[0]),
    )
    return rig.decode(x_0)


def _bound(rig: FaceDiffusion, conditioning: Conditioning) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda x_t, t: rig(x_t, t, conditioning)
