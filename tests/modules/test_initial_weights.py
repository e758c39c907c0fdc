"""An earlier stage's checkpoint as the start of a later one."""

from functools import partial

import lightning as L
import pytest
import torch
from safetensors.torch import save_file

from diffrig_emo.callbacks import AdapterWriter, WeightEMA
from diffrig_emo.conditioning import BufferConditioner, GlobalCodeConditioner
from diffrig_emo.diffusion import (
    ConditionedUNet,
    CosineSchedule,
    LinearSchedule,
    LowRankAdapter,
    ResNet18GlobalEncoder,
    TimmGlobalEncoder,
    VectorModulation,
    adapter_state,
    export_diffusionrig,
    load_adapter,
)
from diffrig_emo.modules import FaceDiffusion
from diffrig_emo.renderer import BufferRenderer
from tests.fakes import FakeFacesDataModule, FakeHead, FakeTexture

ADAPTER = LowRankAdapter(rank=2, targets=("conv1", "vectors"))


def parts(base_channels=8, vector="global", schedule=None, encoder=None, frozen=False):
    encoder = TimmGlobalEncoder("test_resnet", 4) if encoder is None else encoder
    return {
        "denoiser": ConditionedUNet(
            image_size=16,
            base_channels=base_channels,
            channel_mult=(1, 2),
            num_res_blocks=1,
            spatial_channels=9,
            vectors=[VectorModulation(vector, 4)],
        ),
        "conditioners": [
            BufferConditioner(FakeHead(), FakeTexture(), BufferRenderer(16)),
            GlobalCodeConditioner(encoder, vector, frozen=frozen),
        ],
        "schedule": CosineSchedule() if schedule is None else schedule,
    }


def fit(rig, folder, steps, callbacks=(), ckpt_path=None):
    trainer = L.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=False,
        callbacks=[*callbacks, L.pytorch.callbacks.ModelCheckpoint(folder, every_n_train_steps=1, save_top_k=-1)],
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )
    trainer.fit(rig, FakeFacesDataModule(), ckpt_path=ckpt_path, weights_only=None if ckpt_path is None else True)
    return max(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def stage_one(tmp_path_factory):
    torch.manual_seed(0)
    rig = FaceDiffusion(**parts(), prediction_type="v")
    return fit(rig, tmp_path_factory.mktemp("one"), 2, [WeightEMA(0.5)])


def test_the_average_is_taken(stage_one):
    stored = torch.load(stage_one, weights_only=True)
    rig = FaceDiffusion(**parts(frozen=True), prediction_type="v", initial_weights=str(stage_one))
    name = "denoiser.head_conv.weight"
    assert not torch.equal(stored["raw_weights"][name], stored["state_dict"][name])
    assert all(torch.equal(tensor, stored["state_dict"][key]) for key, tensor in rig.state_dict().items())


def test_safetensors_are_taken(stage_one, tmp_path):
    state = torch.load(stage_one, weights_only=True)["state_dict"]
    save_file(state, tmp_path / "one.safetensors")
    rig = FaceDiffusion(**parts(), prediction_type="v", initial_weights=str(tmp_path / "one.safetensors"))
    assert all(torch.equal(tensor, state[key]) for key, tensor in rig.state_dict().items())


def test_diffusionrig_s_own_file_is_taken(tmp_path):
    source = parts(encoder=ResNet18GlobalEncoder(4))
    official = export_diffusionrig(source["denoiser"], source["conditioners"][1].encoder)
    path = tmp_path / "model050000.pt"
    torch.save(official, path)
    rig = FaceDiffusion(**parts(encoder=ResNet18GlobalEncoder(4), schedule=LinearSchedule()), initial_weights=str(path))
    assert torch.equal(rig.denoiser.stem.weight, source["denoiser"].stem.weight)
    fc = rig.conditioners[1].encoder.backbone.fc.weight
    assert torch.equal(fc, official["encoder.fc.weight"])
    with pytest.raises(ValueError, match=r"expected prediction_type eps and LinearSchedule\(\), got v"):
        FaceDiffusion(**parts(encoder=ResNet18GlobalEncoder(4)), prediction_type="v", initial_weights=str(path))
    with pytest.raises(ValueError, match="one ResNetGlobalEncoder, got ConditionedUNet and 0"):
        FaceDiffusion(**parts(), initial_weights=str(path))


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (
            {"base_channels": 16},
            {},
            r"linear1\.weight: checkpoint has \(32, 8\), this model \(64, 16\); .*and 141 more",
        ),
        ({"vector": "look"}, {}, r"vectors\.look\.weight: checkpoint has missing, this model \(16, 4\)"),
        ({"schedule": LinearSchedule()}, {}, r"noise levels of the schedule are others \(1000 and 1000 steps\)"),
        ({}, {"prediction_type": "eps"}, "prediction_type: checkpoint has v, this model eps"),
    ],
)
def test_another_config_is_refused_by_name(stage_one, change, settings, message):
    with pytest.raises(ValueError, match=message):
        FaceDiffusion(**parts(**change), **{"prediction_type": "v", **settings}, initial_weights=str(stage_one))


def test_files_that_are_no_stage_one_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"initial_weights: .*gone\.ckpt does not exist"):
        FaceDiffusion(**parts(), initial_weights=str(tmp_path / "gone.ckpt"))
    torch.save({"state_dict": {"encoder.weight": torch.zeros(1)}}, tmp_path / "encoder.ckpt")
    with pytest.raises(ValueError, match="without a denoiser in it"):
        FaceDiffusion(**parts(), initial_weights=str(tmp_path / "encoder.ckpt"))


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`", "ignore:The dirpath has changed")
def test_adapters_train_resume_exactly_and_are_written(stage_one, tmp_path):
    def personal(initial_weights):
        torch.manual_seed(1)
        settings = {"prediction_type": "v", "adapter": ADAPTER, "optimizer": partial(torch.optim.Adam, lr=0.05)}
        return FaceDiffusion(**parts(frozen=True), **settings, initial_weights=initial_weights)

    whole = personal(str(stage_one))
    frozen = {name: p.detach().clone() for name, p in whole.named_parameters() if not p.requires_grad}
    checkpoint = fit(whole, tmp_path / "whole", 2, [WeightEMA(0.5), AdapterWriter(str(tmp_path / "anna.safetensors"))])
    assert all(torch.equal(p, frozen[name]) for name, p in whole.named_parameters() if name in frozen)
    assert any(tensor.abs().max() > 0 for name, tensor in adapter_state(whole.denoiser).items() if "lora_B" in name)
    stored = torch.load(checkpoint, weights_only=True)
    assert stored["hyper_parameters"]["initial_weights"] is None
    assert all("lora_" in name for name in stored["raw_weights"])

    first = next((tmp_path / "whole").glob("*step=1.ckpt"))
    resumed = personal(None)  # the first stage may be gone by now
    fit(resumed, tmp_path / "resumed", 2, [WeightEMA(0.5)], ckpt_path=first)
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in resumed.state_dict().items())

    loaded = FaceDiffusion.load_from_checkpoint(checkpoint, weights_only=True, **parts(frozen=True), adapter=ADAPTER)
    assert loaded.hparams["initial_weights"] is None
    assert all(torch.equal(tensor, whole.state_dict()[name]) for name, tensor in loaded.state_dict().items())

    rig = FaceDiffusion(**parts(), prediction_type="v", initial_weights=str(stage_one))
    load_adapter(tmp_path / "anna.safetensors", rig.denoiser)
    assert all(torch.equal(tensor, whole.denoiser.state_dict()[n]) for n, tensor in rig.denoiser.state_dict().items())


def test_the_writer_wants_adapters(tmp_path):
    with pytest.raises(ValueError, match="ConditionedUNet has no low-rank adapters"):
        fit(FaceDiffusion(**parts()), tmp_path, 1, [AdapterWriter(str(tmp_path / "anna.safetensors"))])
    with pytest.raises(ValueError, match=r"expected a \.safetensors file"):
        AdapterWriter("anna.ckpt")
