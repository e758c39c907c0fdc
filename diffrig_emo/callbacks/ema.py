"""An exponential moving average of the weights that are trained, and of nothing else."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor


class WeightEMA(Callback):
    """Average the trained weights; validate, save and finish with the average.

    Lightning's own callback copies the whole module, frozen and licensed networks included, and writes that
    copy to the checkpoint past any filter. This one keeps trainable parameters, and the buffers of the
    modules that own them, by name.

    A checkpoint holds the average in `state_dict`, where every loader looks, and the raw weights in
    `raw_weights`, from which training resumes.

    Args:
        decay: weight of the past per optimizer step; it rises to this value as (1 + n) / (10 + n), so that
            short runs are not averages of their random start.
    """

    def __init__(self, decay: float = 0.9999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"WeightEMA: decay must be in [0, 1), got {decay}")
        self.decay = decay
        self.num_updates = 0
        self._average: dict[str, Tensor] = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start from the current weights, unless a checkpoint brought an average."""
        if not self._average:
            self._average = {name: tensor.detach().clone() for name, tensor in trained_tensors(pl_module).items()}
        self._average = {name: tensor.to(pl_module.device) for name, tensor in self._average.items()}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average towards the weights, once per optimizer step."""
        if trainer.global_step <= self.num_updates:
            return
        self.num_updates = trainer.global_step
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        trained = trained_tensors(pl_module)
        floats = [name for name, tensor in trained.items() if tensor.is_floating_point()]
        averages, weights = [self._average[n] for n in floats], [trained[n].detach() for n in floats]
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for name in trained.keys() - set(floats):
            self._average[name].copy_(trained[name])

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Validate with the average."""
        self._swap(pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on training with the raw weights."""
        self._swap(pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the average in the module."""
        self._swap(pl_module)
        self._average = {}

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the average where loaders look, and the raw weights beside it."""
        if self._average:
            state = checkpoint["state_dict"]
            checkpoint["raw_weights"] = {name: state[name] for name in self._average if name in state}
            checkpoint["state_dict"] = {name: self._average.get(name, tensor) for name, tensor in state.items()}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take up the average, and give the raw weights back to the module that is trained."""
        if "raw_weights" in checkpoint and trainer.state.fn == "fit":
            state = checkpoint["state_dict"]
            self._average = {name: state[name].clone() for name in checkpoint["raw_weights"]}
            pl_module.load_state_dict({**state, **checkpoint["raw_weights"]}, strict=pl_module.strict_loading)

    def state_dict(self) -> dict[str, Any]:
        """How many optimizer steps the average has seen."""
        return {"num_updates": self.num_updates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the number of optimizer steps."""
        self.num_updates = state_dict["num_updates"]

    @torch.no_grad()
    def _swap(self, pl_module: L.LightningModule) -> None:
        for name, tensor in trained_tensors(pl_module).items():
            if name in self._average:
                raw = tensor.detach().clone()
                tensor.data.copy_(self._average[name])
                self._average[name].copy_(raw)


def trained_tensors(module: torch.nn.Module) -> dict[str, Tensor]:
    """Trainable parameters, and the saved buffers of the modules that own some, by full name."""
    found: dict[str, Tensor] = {}
    for prefix, part in module.named_modules():
        own = {name: p for name, p in part.named_parameters(recurse=False) if p.requires_grad}
        if own:
            unsaved = part._non_persistent_buffers_set
            own |= {name: b for name, b in part.named_buffers(recurse=False) if name not in unsaved}
        found |= {f"{prefix}.{name}" if prefix else name: tensor for name, tensor in own.items()}
    return found
