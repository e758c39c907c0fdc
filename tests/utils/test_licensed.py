from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from diffrig_emo.utils.licensed import keep_out_of_checkpoints


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.inner.register_buffer("scratch", torch.zeros(1), persistent=False)
        self.inner_too = nn.Linear(2, 2)
        keep_out_of_checkpoints(self.inner)


def test_its_tensors_are_in_no_state_dict():
    net = Net()
    assert list(net.state_dict()) == ["inner_too.weight", "inner_too.bias"]
    assert not net.inner.state_dict()
    assert list(nn.Sequential(net).state_dict()) == ["0.inner_too.weight", "0.inner_too.bias"]


@pytest.mark.parametrize("assign", [False, True])
def test_a_state_dict_without_them_loads_strictly_and_leaves_them_alone(assign):
    net, other = nn.Sequential(Net()), nn.Sequential(Net())
    before = {name: tensor.clone() for name, tensor in net[0].inner.named_parameters()}
    assert net.load_state_dict(other.state_dict(), strict=True, assign=assign) == ([], [])
    assert torch.equal(net[0].inner_too.weight, other[0].inner_too.weight)
    for name, tensor in net[0].inner.named_parameters():
        assert torch.equal(tensor, before[name]), name
        assert not tensor.requires_grad


def test_a_state_dict_with_them_loads():
    net = Net()
    full = net.state_dict() | {"inner.0.weight": torch.full((2, 2), 7.0)}
    net.load_state_dict(full)
    assert net.inner[0].weight.eq(7).all()


def test_what_does_not_belong_is_still_an_error():
    net = Net()
    with pytest.raises(RuntimeError, match=r"Unexpected key.*inner\.9\.weight"):
        net.load_state_dict(net.state_dict() | {"inner.9.weight": torch.zeros(1)})
    with pytest.raises(RuntimeError, match=r"Missing key.*inner_too\.weight"):
        net.load_state_dict({"inner_too.bias": torch.zeros(2)})


def test_only_the_module_is_frozen():
    net = Net()
    assert [name for name, p in net.named_parameters() if p.requires_grad] == ["inner_too.weight", "inner_too.bias"]


def test_copies_behave_alike():
    net = copy.deepcopy(Net())
    assert list(net.state_dict()) == ["inner_too.weight", "inner_too.bias"]
    net.load_state_dict(Net().state_dict())
