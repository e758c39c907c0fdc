"""What every LightningModule here shares: lean checkpoints and randomness that survives a restart."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler


class FaceModule(L.LightningModule):
    """Base of the library's LightningModules.

    A subclass calls `self.save_hyperparameters()` in its own constructor, without `ignore`: a module built
    by the CLI then reloads unaided, because its class paths are stored. Live objects among the
    hyperparameters are dropped when a checkpoint is written, so that no network travels twice and every
    checkpoint opens with `weights_only=True`; a module built by hand is given its parts again:
    `FaceDiffusion.load_from_checkpoint(path, denoiser=..., conditioners=..., schedule=...)`.
    """

    def __init__(
        self,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.seed = seed

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimise every parameter that asks for a gradient; the learning rate moves once per step.

        Raises:
            ValueError: when there is none.
        """
        parameters = [p for p in self.parameters() if p.requires_grad]
        if not parameters:
            raise ValueError(
                f"{type(self).__name__}: nothing to train, every part is frozen (as DECA and EMOCA always are); "
                "use predict, or inject a part that learns"
            )
        optimizer = self.optimizer(parameters)
        if self.lr_scheduler is None:
            return optimizer
        scheduler = self.lr_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Draw all randomness of a step from (seed, step, rank): a resumed run repeats the interrupted one."""
        torch.manual_seed(_mix(self.seed, self.global_step, batch_idx, self.global_rank))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep only plain values among the stored hyperparameters."""
        stored = checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY)
        if stored:
            checkpoint[self.CHECKPOINT_HYPER_PARAMS_KEY] = {k: v for k, v in stored.items() if _is_plain(v)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_is_plain(v) for v in value.values())
    if isinstance(value, list | tuple):
        return all(_is_plain(v) for v in value)
    return value is None or isinstance(value, bool | int | float | str)


def _mix(*numbers: int) -> int:
    """Fold integers into one seed; the multiplier is that of the 64-bit FNV hash."""
    state = 0xCBF29CE484222325
    for number in numbers:
        state = ((state ^ number) * 0x100000001B3) % 2**63
    return state
