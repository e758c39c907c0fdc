"""Training the linear classifier whose rows are directions of emotions in semantic codes."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from diffrig_emo.diffusion.semantic_codes import SemanticDirections
from diffrig_emo.metrics.emotion import EmotionAccuracy
from diffrig_emo.metrics.functional.emotion import EMOTIONS
from diffrig_emo.modules.base import FaceModule
from diffrig_emo.modules.latent_prior import learn_normalization
from diffrig_emo.structures import FaceBatch


class SemanticClassifier(FaceModule):
    """Learn AffectNet's eight emotions from semantic codes, one against the rest.

    It learns from `batch["semantic"]` and `batch["label"]`, as `SemanticCodesDataModule` gives them, by the binary
    cross-entropy of each emotion: the published loss of Diffusion Autoencoders' attribute classifier (Preechakul et
    al. 2022, section 4.3). Faces of unknown emotion (-1) do not count, but their codes take part in the statistics.
    Validation logs `val/accuracy` and `val/mean_accuracy` of the emotion with the largest logit.

    Args:
        dim: size of the codes.
        optimizer: optimizer factory.
        lr_scheduler: learning-rate scheduler factory, stepped once per optimizer step; None keeps the rate.
        seed: with step and rank, fixes all randomness of training.

    Raises:
        ValueError: at the start of training, when the faces come without codes, with codes of another size, or none
            has a label.
    """

    def __init__(
        self,
        dim: int = 512,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, seed)
        self.save_hyperparameters()
        self.directions = SemanticDirections(dim, EMOTIONS)
        self.accuracy: Any = nn.ModuleDict({"val": EmotionAccuracy(), "test": EmotionAccuracy()})

    def forward(self, z: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch 8"]:
        """Logits of the emotions from semantic codes."""
        logits: Tensor = self.directions(z)
        return logits

    def on_train_start(self) -> None:
        """Take mean and deviation of the training faces' codes; refuse faces that teach nothing."""
        loader: Any = self.trainer.train_dataloader
        learn_normalization(self.directions.normalization, loader, type(self).__name__)
        if not (torch.as_tensor(loader.dataset.labels) >= 0).any():
            raise ValueError(
                "SemanticClassifier: none of the training faces has a label; train on labelled faces, such as those of "
                "AffectNetDataModule"
            )

    def training_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """One step on codes with known labels."""
        return self._loss(self(batch["semantic"]), batch, "train")

    def validation_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Loss and figures on held-out faces."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: FaceBatch, batch_idx: int) -> Tensor:
        """Loss and figures on test faces."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: FaceBatch, batch_idx: int = 0) -> Float[Tensor, "batch 8"]:
        """Probability of each emotion; they need not sum to 1."""
        return self.forward(batch["semantic"]).sigmoid()

    def on_validation_epoch_end(self) -> None:
        """Log the figures."""
        self._report("val")

    def on_test_epoch_end(self) -> None:
        """Log the figures."""
        self._report("test")

    def _loss(self, logits: Tensor, batch: FaceBatch, stage: str) -> Tensor:
        label = batch["label"]
        known = label >= 0
        target = F.one_hot(label.clamp(min=0), len(EMOTIONS)).to(logits.dtype)
        error = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(dim=1)
        loss = (error * known).sum() / known.sum().clamp(min=1)
        self.log(f"{stage}/loss", loss, prog_bar=True, batch_size=len(label))
        return loss

    def _evaluate(self, batch: FaceBatch, stage: str) -> Tensor:
        logits = self(batch["semantic"])
        self.accuracy[stage].update(logits, batch["label"])
        return self._loss(logits, batch, stage)

    def _report(self, stage: str) -> None:
        figures = self.accuracy[stage].compute()
        self.accuracy[stage].reset()
        figures = {name: figures[name] for name in ("accuracy", "mean_accuracy")}
        self.log_dict({f"{stage}/{name}": value for name, value in figures.items() if not value.isnan()})
