"""A condition that the denoiser ignores is found out."""

import math

import pytest
import torch
from lightning import LightningModule

from diffrig_emo.callbacks import ConditionSensitivity
from diffrig_emo.callbacks.condition_sensitivity import sensitivity
from diffrig_emo.structures import Conditioning
from diffrig_emo.transforms.ranges import to_signed
from tests.fakes import FakeFacesDataModule


class Sum:
    """Predicts the sum of what it is given, so that the change by a swap is known."""

    def __init__(self, schedule):
        self.schedule = schedule
        self.encode = to_signed

    def __call__(self, x_t, t, conditioning):
        return conditioning.spatial + 2 * conditioning.vectors["used"][:, :, None, None]


def test_the_change_is_as_worked_out_by_hand(make_rig):
    conditioning = Conditioning(
        spatial=torch.zeros(2, 1, 4, 4),
        vectors={"used": torch.tensor([[1.0], [-1.0]]), "ignored": torch.tensor([[0.0], [1.0]])},
    )
    found = sensitivity(Sum(make_rig().schedule), conditioning, torch.rand(2, 3, 4, 4))
    # 2 becomes -2 and -2 becomes 2; pictures that are all alike cannot be swapped.
    assert found == {"used": pytest.approx(2.0), "ignored": 0.0}


def test_every_condition_of_a_rig_is_logged(make_rig, make_trainer):
    trainer = make_trainer(ConditionSensitivity())
    trainer.fit(make_rig(), FakeFacesDataModule())
    logged = {name: float(value) for name, value in trainer.callback_metrics.items() if "sensitivity" in name}
    assert set(logged) == {"val/sensitivity_spatial", "val/sensitivity_global"}
    assert all(math.isfinite(value) and value > 1e-3 for value in logged.values())


def test_an_ignored_condition_is_warned_of_once(make_rig, make_trainer):
    rig = make_rig()
    for block in rig.denoiser.modules():
        for name, parameter in block.named_parameters(recurse=False):
            if parameter.shape[-1:] == (3,) and parameter.ndim == 2:
                assert "weight" in name
                torch.nn.init.zeros_(parameter.requires_grad_(False))  # from the global code
    trainer = make_trainer(ConditionSensitivity(patience=1), max_epochs=3, max_steps=-1)
    with pytest.warns(UserWarning, match="hardly depends on 'global'") as warnings:
        trainer.fit(rig, FakeFacesDataModule())
    assert sum("hardly depends" in str(w.message) for w in warnings) == 1


def test_another_module_is_refused():
    with pytest.raises(ValueError, match="ConditionSensitivity: expected a FaceDiffusion, got a LightningModule"):
        ConditionSensitivity().setup(None, LightningModule(), "fit")
