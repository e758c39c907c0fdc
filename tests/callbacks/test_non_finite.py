"""A loss or gradient that is no number stops the training, and the batch is kept."""

import pytest
import torch

from diffrig_emo.callbacks import StopOnNonFinite, WeightEMA
from tests.fakes import FakeFacesDataModule


def spoil(rig, at_step, value):
    """Make the loss of one step the given value."""
    plain = rig.training_step

    def training_step(batch, batch_idx):
        loss = plain(batch, batch_idx)
        return loss * value if rig.global_step == at_step else loss

    rig.training_step = training_step


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_batch_is_saved_and_no_weight_is_changed(make_rig, make_trainer, tmp_path, value):
    rig = make_rig()
    spoil(rig, at_step=1, value=value)
    trainer = make_trainer(StopOnNonFinite(), WeightEMA(0.9), max_steps=4)
    with pytest.raises(
        FloatingPointError, match=r"stopped at step 1 \(epoch 0, batch 1, rank 0\): the loss is"
    ) as error:
        trainer.fit(rig, FakeFacesDataModule(batch_size=4))
    (path,) = (tmp_path / "non_finite").iterdir()
    assert str(path) in str(error.value)
    saved = torch.load(path, weights_only=True)
    assert (saved["step"], saved["rank"], saved["batch_idx"]) == (1, 0, 1)
    assert not saved["loss"].isfinite()
    assert saved["batch"]["image"].shape == (4, 3, 16, 16)
    assert saved["batch"]["codes"]["exp"].shape == (4, 2)
    assert all(p.isfinite().all() for p in rig.parameters())


class InfiniteSlope(torch.autograd.Function):
    """The identity, with a gradient that is infinite."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("inf")


def with_infinite_slope(rig):
    plain = rig.training_step
    rig.training_step = lambda batch, batch_idx: InfiniteSlope.apply(plain(batch, batch_idx))
    return rig


def test_gradients_are_looked_at_before_the_step(make_rig, make_trainer):
    rig = with_infinite_slope(make_rig())
    before = [p.clone() for p in rig.parameters()]
    with pytest.raises(
        FloatingPointError, match=r"the gradients of \d+ parameters, denoiser\.\S+ first, are not finite"
    ):
        make_trainer(StopOnNonFinite()).fit(rig, FakeFacesDataModule())
    assert all(torch.equal(p, old) for p, old in zip(rig.parameters(), before, strict=True))


def test_infinite_gradients_are_left_to_a_loss_scale(make_rig, make_trainer):
    rig = with_infinite_slope(make_rig())
    trainer = make_trainer(StopOnNonFinite(), max_steps=1)
    trainer.precision_plugin.scaler = torch.amp.GradScaler("cpu", enabled=False)  # as mixed precision on a GPU has one
    trainer.fit(rig, FakeFacesDataModule())
    assert trainer.global_step == 1


def test_a_sound_training_runs_through(make_rig, make_trainer, tmp_path):
    trainer = make_trainer(StopOnNonFinite(), max_steps=3)
    trainer.fit(make_rig(), FakeFacesDataModule())
    assert trainer.global_step == 3
    assert not (tmp_path / "non_finite").exists()
