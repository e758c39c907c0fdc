"""Trainer, model and data from one YAML file, in the shell and in notebooks."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.cli import LightningCLI

from diffrig_emo.callbacks import find_last_checkpoint
from diffrig_emo.io.checkpoints import read_checkpoint
from diffrig_emo.utils.devices import choose_device, choose_precision

_CHECKPOINT_WORDS = ("best", "last", "hpc", "registry")  # Lightning finds these files itself


class FaceCLI(LightningCLI):
    """Lightning's command line for this library's modules.

    It adds four things: shipped configs by bare name (`--config fit_synthetic_64.yaml`), a precision that
    follows the device when none is given, checkpoints read with `weights_only=True`, and `--ckpt_path last` for the
    newest `last.ckpt` of any run below `trainer.default_root_dir` (Lightning looks into the new run's folder only).
    """

    def __init__(self, args: Sequence[str] | None = None, run: bool = True) -> None:
        _keep_counts_whole()
        self._has_verb = run
        super().__init__(
            L.LightningModule,
            L.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            save_config_kwargs={"overwrite": True},
            args=None if args is None else list(args),
            run=run,
        )

    def add_arguments_to_parser(self, parser: Any) -> None:
        """Without a verb, let pass what `fit` writes to `config.yaml` for itself alone."""
        if not self._has_verb:
            parser.add_argument("--ckpt_path", default=None, help="ignored")
            parser.add_argument("--weights_only", type=bool | None, default=None, help="ignored")

    def parse_arguments(self, parser: Any, args: Any) -> None:
        """Replace bare names of shipped configs by their paths, then parse."""
        words = sys.argv[1:] if args is None else args
        self.config = parser.parse_args([shipped_config(word) for word in words])
        verb = self.config.get("subcommand")
        if verb is None:
            return
        self.config[verb].weights_only = True
        checkpoint = self.config[verb].ckpt_path
        if checkpoint == "last":
            found = find_last_checkpoint(self.config[verb].trainer.default_root_dir or ".")
            checkpoint = self.config[verb].ckpt_path = "last" if found is None else str(found)
        if checkpoint is not None and checkpoint.partition(":")[0] not in _CHECKPOINT_WORDS:
            try:
                read_checkpoint(checkpoint)
            except (FileNotFoundError, ValueError) as error:
                raise SystemExit(f"diffrig-emo {verb}: {error}") from error
            settings = (self.config[verb].get("model") or {}).get("init_args") or {}
            for name in ("initial_weights", "encoder_weights", "autoencoder_weights"):
                if settings.get(name) is not None:  # the checkpoint's are later, and the earlier file may be gone
                    settings[name] = None

    def instantiate_classes(self) -> None:
        """Build what the config describes; a part that refuses its settings is heard in its own words."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            cause = error.__cause__  # jsonargparse wraps it in a list of the types that it tried
            if not isinstance(cause, OSError | ValueError):
                raise
            if self.subcommand:
                raise SystemExit(f"diffrig-emo {self.subcommand}: {cause}") from error
            raise cause from None

    def before_instantiate_classes(self) -> None:
        """Choose the precision by the device where the user did not; `enable_checkpointing=false` means all of them."""
        config = self.config[self.subcommand] if self.subcommand else self.config
        if config.trainer.enable_checkpointing is False:  # Lightning refuses a config with such a callback
            callbacks = config.trainer.callbacks or []
            config.trainer.callbacks = [c for c in callbacks if not c.class_path.endswith("Checkpoint")]
        if config.trainer.precision is None:
            accelerator = config.trainer.accelerator
            device = choose_device() if accelerator == "auto" else {"gpu": "cuda"}.get(accelerator, accelerator)
            config.trainer.precision = choose_precision(device)


def _keep_counts_whole() -> None:
    """Let `--trainer.limit_train_batches=1` be one batch, whatever was imported before.

    Python keeps one object for Optional[Union[int, float]] and Optional[Union[float, int]], whichever came first. Where
    another library's came first, the parser would read 1 as 1.0, which to Lightning means all batches.
    """
    annotations = inspect.unwrap(L.Trainer.__init__).__annotations__
    for name, annotation in annotations.items():
        if set(typing.get_args(annotation)) == {int, float, type(None)}:
            annotations[name] = int | float | None


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What a config describes, built and ready."""

    trainer: L.Trainer
    model: L.LightningModule
    data: L.LightningDataModule
    config: str
    """The resolved config, as YAML."""


def load_experiment(config: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Build trainer, model and data from a config file.

    Args:
        config: path of a YAML file, or the bare name of a shipped one.
        overrides: command-line style changes, such as `"--trainer.max_steps=10"`.

    Returns:
        The experiment; `e.trainer.fit(e.model, e.data)` trains it.

    Example:
        >>> experiment = load_experiment("fit_synthetic_64.yaml", ["--trainer.max_steps=10"])  # doctest: +SKIP
    """
    cli = FaceCLI(["--config", str(config), *overrides], run=False)
    return Experiment(cli.trainer, cli.model, cli.datamodule, cli.parser.dump(cli.config, skip_none=False))


def shipped_config(argument: str) -> str:
    """Turn `name.yaml` or `--config=name.yaml` into the path of the shipped config of that name.

    Arguments that name an existing file, or nothing that is shipped, come back unchanged.
    """
    option, equals, name = argument.rpartition("=")
    if not name.endswith(".yaml") or Path(name).exists():
        return argument
    shipped = resources.files("diffrig_emo") / "configs" / name
    return f"{option}{equals}{shipped}" if shipped.is_file() else argument
