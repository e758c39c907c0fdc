"""Stop at the first loss or gradient that is no number, and keep the batch that brought it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.optim import Optimizer

from diffrig_emo.io.atomic import atomic_path


class StopOnNonFinite(Callback):
    """Stop the training where its loss or a gradient is NaN or infinite, before a weight is changed.

    The batch is written to `non_finite/step=…-rank=….pt` in the folder of the run, as plain tensors:
    `torch.load(path, weights_only=True)` gives `batch`, `loss`, `step`, `epoch`, `batch_idx` and `rank`. Together with
    the last checkpoint that is all a step depends on.

    With float16 and a loss scale, infinite gradients are how the scale finds its size; they are left alone there. The
    check reads one number from the device in a step, and one more for the gradients.

    Args:
        gradients: look at the gradients as well.
    """

    def __init__(self, gradients: bool = True) -> None:
        self.gradients = gradients
        self._folder = Path("non_finite")
        self._batch: tuple[Any, int] = (None, 0)
        self._loss = torch.zeros(())

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the folder of the run, while all processes are here to agree on it."""
        self._folder = Path(trainer.log_dir or trainer.default_root_dir) / "non_finite"

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the batch."""
        self._batch = batch, batch_idx

    def on_before_backward(self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor) -> None:
        """Look at the loss.

        Raises:
            FloatingPointError: when it is not finite, naming step, process and the file of the batch.
        """
        self._loss = loss.detach()
        # A scaled loss of 16 bits may be infinite where the loss itself is not; the scale then shrinks.
        scaled = _scaler(trainer) is not None and loss.dtype == torch.float16
        if not torch.isfinite(loss).all() and not (scaled and not torch.isnan(loss).any()):
            self._stop(trainer, f"the loss is {loss.detach().flatten()[0].item()}")

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Look at the gradients.

        Raises:
            FloatingPointError: when one is not finite, naming it.
        """
        if not self.gradients or _scaler(trainer) is not None:
            return
        gradients = {name: p.grad for name, p in pl_module.named_parameters() if p.grad is not None}
        if not gradients or torch.isfinite(torch.stack(torch._foreach_norm(list(gradients.values())))).all():
            return
        odd = [name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()]
        if odd:  # and not merely a norm that is too large for its type
            self._stop(trainer, f"the gradients of {len(odd)} parameters, {odd[0]} first, are not finite")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let go of the batch."""
        self._batch = None, 0

    def _stop(self, trainer: L.Trainer, what: str) -> None:
        batch, batch_idx = self._batch
        step, rank = trainer.global_step, trainer.global_rank
        content = {
            "batch": _plain(batch),
            "loss": self._loss.cpu(),
            "step": step,
            "epoch": trainer.current_epoch,
            "batch_idx": batch_idx,
            "rank": rank,
        }
        with atomic_path(self._folder / f"step={step:06d}-rank={rank}.pt") as path:
            torch.save(content, path)
        raise FloatingPointError(
            f"Training stopped at step {step} (epoch {trainer.current_epoch}, batch {batch_idx}, rank {rank}): {what}. "
            f"The batch is in {self._folder / f'step={step:06d}-rank={rank}.pt'}; this step has changed no weight. "
            "Try a lower learning rate, trainer.gradient_clip_val=1.0, or trainer.precision=bf16-mixed instead of "
            "16-mixed, and go on with --ckpt_path last."
        )


def _scaler(trainer: L.Trainer) -> Any:
    return getattr(trainer.precision_plugin, "scaler", None)


def _plain(value: Any) -> Any:
    """Tensors on the CPU, and what else `weights_only` reads; structs become dictionaries."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
