"""What low-rank adapters have learned, to a file of a few MB."""

from __future__ import annotations

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import nn

from diffrig_emo.diffusion.low_rank import adapter_state, save_adapter


class AdapterWriter(Callback):
    """Write the denoiser's low-rank adapters when training ends; with `WeightEMA`, their average.

    `diffrig_emo.workflows.load.load_rig(stage_one, adapter=path)` then gives the personalised rig.

    Args:
        path: the `.safetensors` file.
    """

    def __init__(self, path: str = "adapter.safetensors") -> None:
        if Path(path).suffix != ".safetensors":
            raise ValueError(f"AdapterWriter: path: expected a .safetensors file, got {path}")
        self.path = Path(path)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make sure that there are adapters to write.

        Raises:
            ValueError: when the model has none.
        """
        adapter_state(_denoiser(pl_module))

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the file, after other callbacks have had their way with the weights."""
        if trainer.is_global_zero:
            save_adapter(self.path, _denoiser(pl_module))


def _denoiser(pl_module: L.LightningModule) -> nn.Module:
    denoiser = getattr(pl_module, "denoiser", None)
    if not isinstance(denoiser, nn.Module):
        raise ValueError(f"AdapterWriter: expected a model with a denoiser, got {type(pl_module).__name__}")
    return denoiser
