"""Personalising through the real command line: stage one's checkpoint in, a person's checkpoint or adapter out."""

from pathlib import Path

import pytest
import torch

from diffrig_emo.cli import main
from diffrig_emo.datasets import StoreWriter, merge
from diffrig_emo.io.images import write_image
from diffrig_emo.structures import FaceCodes
from diffrig_emo.workflows.experiment import load_experiment
from diffrig_emo.workflows.load import load_rig
from tests.parity import make_fake_flame

QUICK = [
    "--trainer.max_steps=1",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_predict_batches=1",
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
SMALL_RIG = ["--model.init_args.denoiser.init_args.base_channels=32", "--model.init_args.num_inference_steps=2"]


def fit(config, folder, *options):
    main(["fit", "--config", config, *QUICK, f"--trainer.default_root_dir={folder}", *options])
    return max(Path(folder).rglob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def stage_one(tmp_path_factory):
    """A checkpoint of fit_synthetic_64.yaml with its config beside it."""
    folder = tmp_path_factory.mktemp("stage_one")
    people = [f"--data.init_args.num_{split}=2" for split in ("train", "val", "test")]
    quiet = ["--trainer.logger=false", "--trainer.callbacks=null", "--trainer.accelerator=cpu"]
    experiment = load_experiment("fit_synthetic_64.yaml", [*people, *quiet])
    experiment.trainer.strategy.connect(experiment.model)
    experiment.trainer.save_checkpoint(folder / "last.ckpt")
    (folder / "config.yaml").write_text(experiment.config)
    return folder / "last.ckpt"


def personal(stage_one, folder, *options):
    album = ["--data.init_args.num_train=4", "--data.init_args.num_val=2", "--data.init_args.num_test=2"]
    return fit(
        "fit_personal_synthetic_64.yaml", folder, *album, f"--model.init_args.initial_weights={stage_one}", *options
    )


def weights(checkpoint):
    return torch.load(checkpoint, weights_only=True)["state_dict"]


def test_a_person_is_learned_from_stage_one_with_the_encoder_frozen(stage_one, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before, after = weights(stage_one), weights(personal(stage_one, tmp_path))
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        if name.startswith("conditioners."):
            assert torch.equal(after[name], tensor), name
    assert not torch.equal(after["denoiser.head_conv.weight"], before["denoiser.head_conv.weight"])


def test_an_adapter_is_written_and_gives_the_personalised_rig(stage_one, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    low_rank = ["--model.init_args.adapter.rank=2", "--trainer.callbacks+=diffrig_emo.callbacks.AdapterWriter"]
    checkpoint = personal(stage_one, tmp_path / "run", *low_rank)
    assert Path("adapter.safetensors").stat().st_size < 2**20
    with_adapter = load_rig(stage_one, adapter="adapter.safetensors")
    trained = load_rig(checkpoint)  # its own folder has the config with the adapter
    x_t, t = torch.randn(1, 3, 64, 64), torch.tensor([500])
    trained.schedule = with_adapter.schedule
    batch = {
        "image": torch.rand(1, 3, 64, 64),
        "codes": FaceCodes.zeros(1, n_shape=38, n_tex=30, n_exp=23, space="synthetic1"),
    }
    with torch.no_grad():
        pictures = [rig(x_t, t, rig.condition(batch)) for rig in (with_adapter, trained)]
    torch.testing.assert_close(*pictures, rtol=1e-4, atol=1e-5)


def test_stage_one_of_another_config_and_a_single_photo_are_refused(stage_one, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((SystemExit, ValueError), match=r"denoiser\.base_channels: checkpoint has 32, this model 16"):
        personal(stage_one, tmp_path, "--model.init_args.denoiser.init_args.base_channels=16")
    with pytest.raises((SystemExit, ValueError), match="num_train: expected 2 or more photographs of the person"):
        personal(stage_one, tmp_path, "--data.init_args.num_train=1")


@pytest.fixture
def album(tmp_path, monkeypatch):
    """Four photos with codes of FLAME 2020, and stand-ins for FLAME's files."""
    make_fake_flame.build(tmp_path / "data", seed=7, components=50, chumpy_keys=("shapedirs",))
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    codes = FaceCodes.zeros(1, n_shape=100, n_tex=50, n_exp=50, space="flame2020")
    with StoreWriter("album.h5", {"encoder": "none"}, mean_shape=torch.zeros(100)) as writer:
        for number in range(4):
            write_image(Path("album") / f"{number}.png", torch.rand(3, 256, 256))
            writer.add(f"{number}.png", codes=codes.replace(shape=torch.full((1, 100), 0.1 * number)))
    merge("album.h5")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("config", ["fit_personal_256.yaml", "fit_personal_lora_256.yaml"])
def test_the_256_configs_take_a_step_and_paint(config, album):
    data = ["--data.init_args.batch_size=2", "--data.init_args.num_workers=0"]
    checkpoint = fit(config, album, *SMALL_RIG, *data)
    assert (album / "adapter.safetensors").exists() == ("lora" in config)
    main(["predict", "--config", config, *QUICK, *SMALL_RIG, *data, "--ckpt_path", str(checkpoint)])
    assert len(list(album.glob("predictions/*.png"))) == 2
