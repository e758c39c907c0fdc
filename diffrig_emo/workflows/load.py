"""Trained models from where they lie: official files, or the folders of our own runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import lightning as L
import yaml  # type: ignore[import-untyped]

from diffrig_emo.diffusion import load_adapter, merge_adapter
from diffrig_emo.io.checkpoints import read_checkpoint, read_weights
from diffrig_emo.modules import FaceDiffusion, FaceEncoder
from diffrig_emo.morphable import FLAME, FlameTexture
from diffrig_emo.utils.assets import locate_asset
from diffrig_emo.workflows.experiment import load_experiment

OFFICIAL = (".pt", ".safetensors")
"""Suffixes of DiffusionRig's model files, as given out and as `diffrig-emo convert` writes them."""

WEIGHTS = "model.safetensors"
"""What the weights of a run are called that was made small to be given away."""

Module = TypeVar("Module", bound=L.LightningModule)


def load_rig(path: str | Path | None = None, adapter: str | Path | None = None) -> FaceDiffusion:
    """Load a rig: photos and codes to photos.

    Args:
        path: DiffusionRig's model file (either stage, also DiffusionRig-EMO's), for which FLAME 2020, its landmarks,
            template and texture must be among the assets; or a run of ours, as for `load_run`. None takes the
            DiffusionRig file that `diffrig_emo.utils.assets` finds.
        adapter: a person's low-rank adapter, as `AdapterWriter` writes it, for this rig; it is folded into the weights.

    Returns:
        The rig, in eval mode.

    Raises:
        FileNotFoundError: naming what is missing and where to get it.
        ValueError: when a file is damaged or another one.
    """
    path = locate_asset("diffusionrig") if path is None else Path(path)
    if path.suffix not in OFFICIAL or path.name == WEIGHTS:
        rig = load_run(path, FaceDiffusion)
    else:
        rig = FaceDiffusion.from_diffusionrig(path, FLAME(), FlameTexture()).eval()
    if adapter is not None:
        load_adapter(adapter, rig.denoiser)
        merge_adapter(rig.denoiser)
    return rig


def load_run(path: str | Path, kind: type[Module]) -> Module:
    """Load what `diffrig-emo fit` or `demo` trained.

    Args:
        path: a checkpoint (`.ckpt` or `model.safetensors`), or the folder of a run; of several checkpoints below it
            the newest is taken. `config.yaml` lies beside the checkpoint or in a folder above it.
        kind: the LightningModule that is expected.

    Returns:
        The module, in eval mode.

    Raises:
        FileNotFoundError: when there is no checkpoint or no config.
        ValueError: when the run trained something else, or the checkpoint is damaged or does not fit the config.
    """
    path = Path(path)
    checkpoint = path if path.is_file() else _newest(path)
    config = next((f / "config.yaml" for f in checkpoint.resolve().parents if (f / "config.yaml").is_file()), None)
    if config is None:
        raise FileNotFoundError(f"{checkpoint}: expected its config.yaml beside it or in a folder above, found none")
    state = read_weights(checkpoint) if checkpoint.name == WEIGHTS else read_checkpoint(checkpoint)["state_dict"]
    plain = ["--trainer.logger=false", "--trainer.callbacks=null", "--seed_everything=false"]
    with _quiet_trainer():
        model = load_experiment(_description(config), plain).model
    if not isinstance(model, kind):
        raise ValueError(f"{config}: expected the run of a {kind.__name__}, got that of a {type(model).__name__}")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{checkpoint} does not fit {config}, which describes another model; give a checkpoint of that very run. "
            f"PyTorch says: {str(error).splitlines()[1].strip()}"
        ) from error
    return model.eval()


def load_encoder(path: str | Path) -> FaceEncoder:
    """Load a trained `FaceEncoder`; arguments and errors as for `load_run`."""
    return load_run(path, FaceEncoder)


def _description(config: Path) -> str:
    """A run's config without what its verb alone took, and without its earlier stage, which may be gone by now."""
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    if not isinstance(content.get("model"), dict):
        return str(config)  # not resolved: it names pieces that lie beside it
    for name in ("initial_weights", "autoencoder_weights"):  # the checkpoint's weights are later
        content["model"].get("init_args", {}).pop(name, None)
    description: str = yaml.safe_dump(
        {key: content[key] for key in ("seed_everything", "trainer", "model", "data") if key in content}
    )
    return description


@contextmanager
def _quiet_trainer() -> Iterator[None]:
    """Nobody trains here: which devices a trainer would have is of no interest."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _newest(folder: Path) -> Path:
    found = [*folder.rglob("*.ckpt"), *folder.rglob(WEIGHTS)]
    checkpoints = sorted(found, key=lambda p: (p.stat().st_mtime, p.name))
    if not checkpoints:
        raise FileNotFoundError(
            f"{folder}: expected a model file ({', '.join(OFFICIAL)}), a .ckpt file, or the folder of a run with one"
        )
    return checkpoints[-1]
