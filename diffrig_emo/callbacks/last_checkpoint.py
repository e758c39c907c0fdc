"""The checkpoint that a killed run goes on from, written so that a kill never damages it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint


class LastCheckpoint(Checkpoint):
    """Write `checkpoints/last.ckpt` in the folder of the run: every so many steps, and when training ends.

    Lightning's `ModelCheckpoint` keeps the best or many files, and may be used beside it. This one keeps one file,
    which is exact: it is written right after an optimizer step, with the average of the weights where there is one, and
    holds the place in the epoch. `diffrig-emo fit ... --ckpt_path last` goes on from it.

    Args:
        every_n_steps: optimizer steps from one writing to the next.

    Raises:
        ValueError: when `every_n_steps` is not positive.
    """

    def __init__(self, every_n_steps: int = 500) -> None:
        if every_n_steps < 1:
            raise ValueError(f"LastCheckpoint: every_n_steps must be at least 1, got {every_n_steps}")
        self.every_n_steps = every_n_steps
        self.path: Path | None = None
        """Where it is written; known once training starts."""
        self._saved_step = 0

    @property
    def best_model_path(self) -> str:
        """What Lightning takes for `ckpt_path="best"`: the only checkpoint that there is."""
        return str(self.path or "")

    @best_model_path.setter
    def best_model_path(self, path: str) -> None:
        """Lightning tells it to the process that forked the ones that trained, as in notebooks with several GPUs."""
        self.path = Path(path) if path else None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find the folder of the run; the strategy now writes files that are whole or absent."""
        self.path = Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints" / "last.ckpt"
        self._saved_step = trainer.global_step
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write it when its time has come, and after the last step."""
        last_epoch = trainer.max_epochs is not None and trainer.current_epoch + 1 == trainer.max_epochs
        ends = trainer.global_step == trainer.max_steps or (last_epoch and trainer.is_last_batch) or trainer.should_stop
        if ends or trainer.global_step % self.every_n_steps == 0:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write it when validation has ended the training, as early stopping does."""
        if trainer.should_stop:
            self._save(trainer)

    def _save(self, trainer: L.Trainer) -> None:
        # Batches that only accumulate gradients, which no checkpoint holds, come here with the step before.
        if trainer.global_step > self._saved_step and not getattr(trainer, "fast_dev_run", False):
            self._saved_step = trainer.global_step
            trainer.save_checkpoint(str(self.path))


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write a checkpoint beside its place and then move it there, so that a kill leaves the one before.

    Lightning writes to the system's folder of temporary files, from where a large file may have to be copied; a kill
    then leaves half a checkpoint. Paths that are no local files are left to Lightning.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: dict[str, Any] | None = None
    ) -> None:
        """Write one checkpoint."""
        if storage_options is not None or "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Always the same name: what a kill leaves behind is overwritten by the next try.
        part = path.with_name(f".{path.name}.part")
        with part.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


def find_last_checkpoint(folder: str | Path) -> Path | None:
    """The newest `last.ckpt` of the runs in a folder.

    Args:
        folder: `Trainer.default_root_dir` of the runs.

    Returns:
        Its path; None when no run has got so far.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "lightning_logs" / "version_0" / "checkpoints" / "last.ckpt"
        ...     path.parent.mkdir(parents=True)
        ...     path.touch()
        ...     find_last_checkpoint(folder) == path
        True
    """
    found = [path for depth in ("", "*/", "*/*/") for path in Path(folder).glob(f"{depth}checkpoints/last*.ckpt")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
