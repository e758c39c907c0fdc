"""Every shipped YAML builds, and runs a step through the real command line."""

import inspect
from pathlib import Path
from typing import Union

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningArgumentParser

import diffrig_emo
from diffrig_emo.cli import main
from diffrig_emo.workflows.experiment import load_experiment, shipped_config

CONFIGS = Path(diffrig_emo.__file__).parent / "configs"
SMALL = Path(__file__).parent / "small.yaml"
ALL_RUNS = sorted(path.name for path in CONFIGS.glob("fit_*.yaml"))
CODES = ("fit_diffae_prior", "fit_diffae_classifier")
"""Runs on semantic codes, which need an autoencoder first; `test_semantic_code_configs.py` runs them."""
RUNS = [name for name in ALL_RUNS if "synthetic" in name and not name.startswith(CODES)]
# Run by test_emotion_configs.py, on what others leave.
AFTER_OTHERS = ["fit_emotion_finetuning_synthetic_64.yaml", "fit_paired_finetuning_synthetic_64.yaml"]
PIECES = sorted(path.relative_to(CONFIGS).as_posix() for path in CONFIGS.glob("*/*.yaml"))

# What makes a config small beyond small.yaml, or small.yaml's numbers fit for it.
SMALL_MODEL = {
    "fit_synthetic_256.yaml": [
        "--data.init_args.image_size=256",
        "--model.init_args.denoiser.init_args.base_channels=32",
        "--model.init_args.num_inference_steps=2",
    ],
    "fit_latent_emotion_synthetic_64.yaml": ["--data.init_args.num_train=8", "--data.init_args.batch_size=4"],
}


def test_every_piece_belongs_to_a_run():
    used = {yaml.safe_load((CONFIGS / run).read_text())[part] for run in ALL_RUNS for part in ("model", "data")}
    assert used == set(PIECES)


@pytest.mark.parametrize("name", ALL_RUNS)
def test_every_run_can_be_resumed_and_is_guarded(name):
    text = (CONFIGS / name).read_text()
    assert "callbacks.LastCheckpoint" in text
    assert "callbacks.StopOnNonFinite" in text


def on_meta_device(name, options=()):
    """The model of a shipped run at full size, without its memory."""
    parser = LightningArgumentParser()
    parser.add_subclass_arguments(L.LightningModule, "model")
    model = yaml.safe_load((CONFIGS / name).read_text())["model"]
    config = parser.parse_args(["--model", str(CONFIGS / model), *options])
    with torch.device("meta"):
        return parser.instantiate_classes(config).model


@pytest.mark.parametrize("name", RUNS)
def test_full_size_model_builds_on_the_meta_device(name):
    assert all(parameter.is_meta for parameter in on_meta_device(name).parameters())


def test_the_256_config_is_diffusionrig_s_network():
    assert sum(p.numel() for p in on_meta_device("fit_synthetic_256.yaml").parameters()) == 144_610_179


@pytest.mark.parametrize("name", [name for name in RUNS if name not in AFTER_OTHERS])
def test_fit_then_predict_through_the_command_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--config", name, "--config", str(SMALL), *SMALL_MODEL.get(name, [])]
    main(["fit", *arguments])
    checkpoint = next(tmp_path.rglob("*.ckpt"))
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 1
    main(["predict", *arguments, "--ckpt_path", str(checkpoint)])
    if "encoder" not in name and "recognizer" not in name:
        assert len(list(tmp_path.glob("predictions/*.png"))) == 2


def test_an_unknown_key_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--config", "fit_synthetic_64.yaml", "--model.init_args.nonsense=1"])
    assert "nonsense" in capsys.readouterr().err


def test_a_torn_checkpoint_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("torn.ckpt").write_bytes(b"PK half a file")
    with pytest.raises(SystemExit, match=r"ckpt_path: torn.ckpt \(14 bytes\) cannot be read"):
        main(["predict", "--config", "fit_synthetic_64.yaml", "--ckpt_path", "torn.ckpt"])
    with pytest.raises(SystemExit, match=r"ckpt_path: .* missing.ckpt does not exist"):
        main(["predict", "--config", "fit_synthetic_64.yaml", "--ckpt_path", "missing.ckpt"])


def test_a_local_file_wins_over_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped_config("--config=fit_synthetic_64.yaml") == f"--config={CONFIGS / 'fit_synthetic_64.yaml'}"
    Path("fit_synthetic_64.yaml").write_text("trainer: {}\n")
    assert shipped_config("fit_synthetic_64.yaml") == "fit_synthetic_64.yaml"


def test_the_config_that_fit_writes_can_be_loaded(tmp_path):
    written = (CONFIGS / "fit_synthetic_64.yaml").read_text() + "ckpt_path: some/last.ckpt\nweights_only: true\n"
    for part in ("model", "data"):
        written = written.replace(f": {part}/", f": {CONFIGS}/{part}/")
    (tmp_path / "config.yaml").write_text(written)
    assert load_experiment(tmp_path / "config.yaml", ["--trainer.callbacks=null"]).trainer.max_steps == 2000


def test_load_experiment_gives_what_the_config_describes(tmp_path):
    overrides = ["--trainer.max_steps=7", f"--trainer.default_root_dir={tmp_path}", "--trainer.logger=false"]
    experiment = load_experiment("fit_synthetic_64.yaml", overrides)
    assert experiment.trainer.max_steps == 7
    assert yaml.safe_load(experiment.config)["trainer"]["max_steps"] == 7
    assert experiment.data.image_size == 64


def test_one_batch_is_one_batch_whatever_was_imported_before(monkeypatch, tmp_path):
    annotations = inspect.unwrap(L.Trainer.__init__).__annotations__
    for name in ("limit_train_batches", "limit_val_batches"):
        monkeypatch.setitem(annotations, name, Union[float, int, None])  # noqa: UP007
    options = ["--trainer.limit_train_batches=1", "--trainer.limit_val_batches=0.5", "--trainer.logger=false"]
    trainer = load_experiment("fit_synthetic_64.yaml", [*options, f"--trainer.default_root_dir={tmp_path}"]).trainer
    assert (repr(trainer.limit_train_batches), repr(trainer.limit_val_batches)) == ("1", "0.5")
