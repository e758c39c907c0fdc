"""Adapters against the formula of the paper, and through every way that a network is stored."""

import copy
import dataclasses

import pytest
import torch
from safetensors import safe_open
from torch import nn

from diffrig_emo.diffusion import (
    ConditionedUNet,
    LowRankAdapter,
    VectorModulation,
    adapter_state,
    load_adapter,
    merge_adapter,
    save_adapter,
)
from diffrig_emo.structures import Conditioning


@pytest.fixture
def network():
    unet = ConditionedUNet(
        image_size=16,
        base_channels=16,
        channel_mult=(1, 2),
        spatial_channels=2,
        vectors=[VectorModulation("global", 4)],
    )
    for parameter in unet.parameters():
        nn.init.normal_(parameter, std=0.05)  # zero-initialised layers would hide what is adapted
    return unet


@torch.no_grad()
def run(network):
    generator = torch.Generator().manual_seed(1)
    x_t, spatial, vector = (torch.randn(2, *size, generator=generator) for size in ((3, 16, 16), (2, 16, 16), (4,)))
    return network(x_t, torch.tensor([3, 700]), Conditioning(spatial=spatial, vectors={"global": vector}))


@torch.no_grad()
def train(network):
    """Stands for training: every adapter gets weights."""
    for tensor in adapter_state(network).values():
        tensor.normal_(std=0.1)


def test_an_untrained_adapter_changes_nothing_and_alone_is_trained(network):
    before = run(network)
    LowRankAdapter().attach(network)
    assert torch.equal(run(network), before)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert trained == {name.replace(".weight", ".default.weight") for name in adapter_state(network)}
    network(torch.randn(1, 3, 16, 16), torch.tensor([5]), Conditioning(
        spatial=torch.randn(1, 2, 16, 16), vectors={"global": torch.randn(1, 4)}
    )).sum().backward()  # fmt: skip
    gradients = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert gradients == trained


@pytest.mark.parametrize("layer", [nn.Linear(6, 5), nn.Conv2d(6, 5, 3, padding=1)])
def test_the_layer_is_the_formula_of_the_paper(layer):
    network = nn.Sequential()
    network.add_module("only", copy.deepcopy(layer).double())
    LowRankAdapter(rank=2, alpha=3.0, targets=["only"]).attach(network)
    network.double()
    train(network)
    a, b = (adapter_state(network)[f"only.lora_{part}.weight"] for part in "AB")
    weight = layer.weight.double() + 3.0 / 2 * torch.einsum("or,ri...->oi...", b.flatten(1), a)
    x = torch.randn(2, 6, dtype=torch.float64) if a.ndim == 2 else torch.randn(2, 6, 4, 4, dtype=torch.float64)
    bias = layer.bias.double()
    expected = x @ weight.T + bias if a.ndim == 2 else nn.functional.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)


def test_merging_keeps_the_function_and_restores_the_names(network):
    names = list(network.state_dict())
    LowRankAdapter(rank=3, alpha=6.0).attach(network)
    train(network)
    adapted = run(network)
    merge_adapter(network)
    torch.testing.assert_close(run(network), adapted, rtol=1e-5, atol=1e-6)
    assert list(network.state_dict()) == names
    with pytest.raises(ValueError, match="has no low-rank adapters"):
        merge_adapter(network)
    LowRankAdapter().attach(network)  # and can be adapted again


def test_a_saved_adapter_gives_the_same_pictures_on_the_same_base(network, tmp_path):
    base = copy.deepcopy(network)
    adapter = LowRankAdapter(rank=2, alpha=5.0, targets=("conv1", "vectors"))
    adapter.attach(network)
    train(network)
    save_adapter(tmp_path / "anna.safetensors", network)
    load_adapter(tmp_path / "anna.safetensors", base)
    assert torch.equal(run(base), run(network))
    assert dataclasses.replace(base.low_rank_adapter, targets=tuple(base.low_rank_adapter.targets)) == adapter
    with safe_open(tmp_path / "anna.safetensors", "pt") as file:
        assert set(file.keys()) == set(adapter_state(network))
        assert not any("base_layer" in name for name in file.keys())  # noqa: SIM118


def test_the_default_holds_diffusionrig_in_a_few_megabytes():
    with torch.device("meta"):
        unet = ConditionedUNet(attention_resolutions=[16], spatial_channels=9, vectors=[VectorModulation("global", 64)])
        adapted = sum(layer.weight.numel() for layer in LowRankAdapter().layers(unet).values())
        whole = sum(p.numel() for p in unet.parameters())
        LowRankAdapter().attach(unet)
    assert adapted / whole > 0.95
    assert 4 * sum(tensor.numel() for tensor in adapter_state(unet).values()) < 7e6


def test_bad_input_is_named(network, tmp_path):
    with pytest.raises(ValueError, match="rank and alpha must be positive, got 0"):
        LowRankAdapter(rank=0)
    with pytest.raises(ValueError, match="expected targets such as conv1"):
        LowRankAdapter(targets=())
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match="no linear or convolutional layer named 'attn'"):
        LowRankAdapter(targets=("conv1", "attn")).attach(network)
    assert all(p.requires_grad for p in network.parameters())
    with pytest.raises(ValueError, match="has no low-rank adapters"):
        save_adapter(tmp_path / "none.safetensors", network)

    other = ConditionedUNet(image_size=16, base_channels=32, channel_mult=(1, 2), spatial_channels=2)
    LowRankAdapter(targets=("conv1",)).attach(other)
    with pytest.raises(ValueError, match="has low-rank adapters already"):
        LowRankAdapter().attach(other)
    path = tmp_path / "other.safetensors"
    save_adapter(path, other)
    with pytest.raises(ValueError, match=r"conv1\.lora_A\.weight is \(4, 32, 3, 3\) in the file, but \(4, 16, 3, 3\)"):
        load_adapter(path, network)
    assert network.state_dict().keys() == before.keys()
    assert all(p.requires_grad for p in network.parameters())
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_adapter(tmp_path / "missing.safetensors", network)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="cannot be read as a low-rank adapter"):
        load_adapter(path, network)


def test_without_peft_it_says_how_to_get_it(network, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ImportError, match=r"LowRankAdapter needs peft.*diffrig_emo\[lora\]"):
        LowRankAdapter().attach(network)
    assert all(p.requires_grad for p in network.parameters())
