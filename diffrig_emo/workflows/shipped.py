"""The small models that come with the package, all of 64-pixel synthetic faces: a rig, its encoder, a recogniser ..."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import lightning as L
import torch
from safetensors.torch import save_file

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.modules import ExpressionRecognizer, FaceDiffusion, FaceEncoder
from diffrig_emo.workflows.experiment import load_experiment
from diffrig_emo.workflows.load import WEIGHTS, load_run


def shipped_rig() -> FaceDiffusion:
    """The rig, in eval mode: paints 64-pixel faces from codes of space "synthetic1".

    It has seen synthetic faces alone, and is there to try things out with: photographs of real people need a rig that
    learned from such.
    """
    return load_run(shipped_run("rig"), FaceDiffusion)


def shipped_encoder() -> FaceEncoder:
    """The encoder, in eval mode: reads codes of space "synthetic1" off whole 64-pixel pictures of synthetic faces."""
    return load_run(shipped_run("encoder"), FaceEncoder)


def shipped_recognizer() -> ExpressionRecognizer:
    """The recogniser, in eval mode: emotions, valence and arousal of synthetic faces."""
    return load_run(shipped_run("recognizer"), ExpressionRecognizer)


def shipped_latent_emotion() -> FaceDiffusion:
    """The latent emotion model, in eval mode: what edits by label alone are finetuned from."""
    return load_run(shipped_run("latent_emotion"), FaceDiffusion)


def shipped_run(name: str) -> Path:
    """Folder of a shipped model, as `load_run` takes it.

    Args:
        name: "rig", "encoder", "recognizer", "latent_emotion", "diffae", "diffae_prior" or "diffae_classifier".

    Raises:
        FileNotFoundError: when the package was installed without it.
    """
    folder = Path(str(resources.files("diffrig_emo") / "weights" / name))
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(
            f"{folder / WEIGHTS}: the package was installed without its small models; install it again from a wheel or "
            "a whole checkout"
        )
    return folder


def write_small_run(module: L.LightningModule, folder: Path, config: str | Path, options: Sequence[str] = ()) -> int:
    """Write a trained module as half-precision weights and the config that builds it, as `load_run` takes them.

    Args:
        module: what was trained.
        folder: for `model.safetensors` and `config.yaml`.
        config: what builds such a module, as for `load_experiment`.
        options: changes to it.

    Returns:
        Size of the weights in bytes.
    """
    kept = {name: _half(tensor) for name, tensor in module.state_dict().items()}
    with atomic_path(folder / "config.yaml") as path:
        path.write_text(load_experiment(config, options).config, encoding="utf-8")
    with atomic_path(folder / WEIGHTS) as path:
        save_file(kept, path, metadata={"format": "pt", "kind": json.dumps(type(module).__name__)})
    return (folder / WEIGHTS).stat().st_size


def _half(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().cpu().contiguous()
    return tensor.half() if tensor.is_floating_point() else tensor
