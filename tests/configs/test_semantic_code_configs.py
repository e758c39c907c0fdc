"""The configs of latent priors and classifiers: the published sizes, and steps through the real command line."""

from pathlib import Path

import pytest
import torch
import yaml

from diffrig_emo.cli import main
from diffrig_emo.datamodules import SemanticCodesDataModule
from diffrig_emo.diffusion import SemanticEncoder
from diffrig_emo.workflows.experiment import load_experiment
from tests.configs.test_configs import CONFIGS, on_meta_device

PRIORS = [f"fit_diffae_prior_ffhq{size}.yaml" for size in (64, 128, 256)]
CLASSIFIERS = [f"fit_diffae_classifier_affectnet{size}.yaml" for size in (64, 128, 256)]
SYNTHETIC = ["fit_diffae_prior_synthetic_64.yaml", "fit_diffae_classifier_synthetic_64.yaml"]
SMALL = Path(__file__).parent / "small_codes.yaml"
ENCODERS = {64: 19_320_512, 128: 24_673_536, 256: 30_150_400}


@pytest.mark.parametrize("name", PRIORS)
def test_the_published_prior(name):
    assert sum(p.numel() for p in on_meta_device(name).parameters()) == 54_109_696


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_published_classifier_but_for_its_classes(name):
    assert sum(p.numel() for p in on_meta_device(name).parameters()) == 8 * 513


@pytest.mark.parametrize("name", [*PRIORS, *CLASSIFIERS])
def test_the_encoders_are_the_published_ones(name):
    piece = yaml.safe_load((CONFIGS / yaml.safe_load((CONFIGS / name).read_text())["data"]).read_text())["init_args"]
    with torch.device("meta"):
        encoder = SemanticEncoder(**piece["encoder"]["init_args"])
    assert sum(p.numel() for p in encoder.parameters()) == ENCODERS[encoder.image_size]
    assert piece["faces"]["init_args"]["image_size"] == encoder.image_size


@pytest.mark.parametrize("name", [*PRIORS, *CLASSIFIERS, *SYNTHETIC])
def test_everything_is_built_before_any_file_is_needed(name):
    data = load_experiment(name, ["--trainer.logger=false", "--trainer.callbacks=null"]).data
    assert isinstance(data, SemanticCodesDataModule)
    with pytest.raises(FileNotFoundError, match="encoder_weights: expected a trained autoencoder"):
        data.setup("fit")


@pytest.mark.parametrize("name", SYNTHETIC)
def test_the_synthetic_twins_take_the_autoencoder_of_theirs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    autoencoder = on_meta_device("fit_diffae_synthetic_64.yaml").to_empty(device="cpu")
    for parameter in autoencoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save({"state_dict": autoencoder.state_dict()}, "autoencoder.ckpt")
    arguments = ["--config", name, "--config", str(SMALL), "--data.init_args.encoder_weights=autoencoder.ckpt"]
    main(["fit", *arguments])
    checkpoint = next(tmp_path.rglob("checkpoints/*.ckpt"))
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 1
    main(["predict", *arguments, "--ckpt_path", str(checkpoint)])
