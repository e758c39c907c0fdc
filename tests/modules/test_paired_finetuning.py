from functools import partial

import pytest
import torch
from torch.nn import functional as F

from diffrig_emo.conditioning import EmotionLabelConditioner
from diffrig_emo.datamodules import InvertedFacesDataModule
from diffrig_emo.datasets import write_inverted_faces
from diffrig_emo.diffusion import ScaledLinearSchedule
from diffrig_emo.losses import change_around
from diffrig_emo.modules import PairedFinetuning
from tests.modules.test_emotion_finetuning import inverted
from tests.modules.test_latent_diffusion import SCHEDULE, denoiser, fit, network


def paired(**settings):
    torch.manual_seed(0)
    label = EmotionLabelConditioner(8, form="token", dropout=0.5)
    settings = {"autoencoder": network(), "latent_scale": None, "prediction_type": "v", **settings}
    optimizer = partial(torch.optim.AdamW, lr=2e-3)
    return PairedFinetuning(denoiser(), [label], ScaledLinearSchedule(**SCHEDULE), optimizer=optimizer, **settings)


def pairs(n=4):
    faces = inverted(n)
    generator = torch.Generator().manual_seed(1)
    faces["true_edit"] = torch.rand(n, 3, 16, 16, generator=generator)
    faces["target_label"] = torch.arange(n) % 8
    return faces


class Pairs(torch.utils.data.Dataset):
    def __init__(self):
        self.batch = pairs(8)

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {name: values[index] for name, values in self.batch.items()}


@torch.no_grad()
def test_the_loss_is_the_closed_form():
    faces, weighed, plain = pairs(), paired(changed_weight=3.0), paired()
    wanted = dict(faces, label=faces.pop("target_label"))
    level = float(plain.schedule.alphas_cumprod[500])
    t = torch.full((4,), 500)
    v = plain.denoiser(faces["latent"], t, plain.condition(wanted))
    x_0 = level**0.5 * faces["latent"] - (1 - level) ** 0.5 * v
    squares = (x_0 - plain.encode(faces["true_edit"])).square()
    faces["target_label"] = wanted["label"]
    torch.testing.assert_close(plain.losses(faces), squares.mean(dim=(1, 2, 3)))
    change = F.avg_pool2d(change_around(faces["image"], faces["true_edit"]), 2)
    torch.testing.assert_close(weighed.losses(faces), ((1 + 3 * change) * squares).mean(dim=(1, 2, 3)))


def test_only_the_denoiser_learns_and_the_loss_falls(tmp_path):
    model, faces = paired(), pairs(8)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        first = model.losses(faces).mean()
        trainer = fit(model, tmp_path, steps=12, dataset=Pairs(), enable_checkpointing=False)
        assert "train/loss" in trainer.logged_metrics
        changed = {name.partition(".")[0] for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
        assert changed == {"denoiser"}
        assert model.losses(faces).mean() < first
        assert model.predict_step(faces).shape == (8, 3, 16, 16)


def test_labels_are_not_dropped_in_training():
    model = paired().train()
    assert model.denoiser.training
    assert not model.conditioners.training


def test_what_it_cannot_work_with_is_named(tmp_path):
    with pytest.raises(ValueError, match="changed_weight"):
        paired(changed_weight=-1.0)
    with pytest.raises(ValueError, match=r"true_edit, target_label: .*--scenes true"):
        paired().losses(inverted(2))
    path = tmp_path / "inverted.safetensors"
    write_inverted_faces(path, inverted(), last_step=800)
    model = paired()
    model._trainer = type("T", (), {"datamodule": InvertedFacesDataModule(str(path), num_val=2)})()
    with pytest.raises(ValueError, match="step 800"):
        model.on_fit_start()
