"""A frozen global encoder stays as it is."""

import copy

import pytest
import torch

from diffrig_emo.conditioning import GlobalCodeConditioner
from diffrig_emo.diffusion import TimmGlobalEncoder
from diffrig_emo.structures import FaceBatch


@pytest.fixture
def encoder():
    return TimmGlobalEncoder("test_resnet", 4)


@pytest.fixture
def batch():
    return FaceBatch(image=torch.rand(4, 3, 32, 32))


def test_frozen_is_eval_without_gradients_whatever_train_says(encoder, batch):
    expected = copy.deepcopy(encoder).eval()(2 * batch["image"] - 1)
    before = copy.deepcopy(encoder.state_dict())
    parent = torch.nn.Sequential(GlobalCodeConditioner(encoder, frozen=True)).train()
    code = parent(batch).vectors["global"]
    assert not code.requires_grad
    torch.testing.assert_close(code, expected)
    assert parent[0].training
    assert not any(module.training for module in encoder.modules())
    assert not any(p.requires_grad for p in encoder.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())


def test_batchnorm_train_repeats_the_original_second_stage(encoder, batch):
    expected = copy.deepcopy(encoder).train()(2 * batch["image"] - 1)
    conditioner = GlobalCodeConditioner(encoder, frozen=True, batchnorm_train=True).train()
    before = copy.deepcopy(encoder.state_dict())
    code = conditioner(batch).vectors["global"]
    torch.testing.assert_close(code, expected)
    assert not code.requires_grad
    moved = {name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved
    assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in moved)
    assert not conditioner.eval().encoder.training


def test_a_trained_one_learns(encoder, batch):
    conditioner = GlobalCodeConditioner(encoder, name="look").train()
    conditioner(batch).vectors["look"].sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())
    with pytest.raises(ValueError, match="batchnorm_train: expected frozen=True"):
        GlobalCodeConditioner(encoder, batchnorm_train=True)
