from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffrig_emo.morphable import DetailDecoder
from tests.parity.fake_assets import component, write_fake_deca, write_fake_emoca


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_fake_deca(tmp_path_factory.mktemp("deca"), small=True)


@pytest.fixture(scope="module")
def decoder(path):
    return DetailDecoder(path)


def codes(batch=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, size, generator=generator) for size in (3, 50, 128)]


def by_hand(weights, jaw_pose, exp, detail):
    """The decoder of DECA's paper, written with functions alone."""
    x = F.linear(torch.cat([jaw_pose, exp, detail], 1), weights["l1.0.weight"], weights["l1.0.bias"])
    x = x.reshape(-1, 128, 8, 8)

    def norm(x, index, eps):
        mean, var, weight, bias = (
            weights[f"conv_blocks.{index}.{n}"] for n in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(x, mean, var, weight, bias, eps=eps)

    def conv(x, index):
        return F.conv2d(x, weights[f"conv_blocks.{index}.weight"], weights[f"conv_blocks.{index}.bias"], padding=1)

    x = norm(x, 0, 1e-5)
    for first in (2, 6, 10, 14, 18):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = F.leaky_relu(norm(conv(x, first), first + 1, 0.8), 0.2)
    return 0.01 * torch.tanh(conv(x, 21))


def test_formula(path):
    weights = {name: tensor.double() for name, tensor in component("D_detail", small=True).items()}
    inputs = [code.double() for code in codes()]
    actual = DetailDecoder(path).double()(*inputs)
    torch.testing.assert_close(actual, by_hand(weights, *inputs), rtol=1e-6, atol=1e-9)
    assert actual.shape == (2, 1, 256, 256)
    assert actual.std() > 1e-6


def test_the_files_eps_matters(path):
    """The released weights were trained with the odd eps: with the usual one the map is another."""
    decoder = DetailDecoder(path)
    expected = decoder(*codes())
    for module in decoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-5
    assert (decoder(*codes()) - expected).abs().max() > 0.02 * expected.abs().max()


def test_from_emoca(tmp_path, decoder):
    checkpoint = write_fake_emoca(tmp_path / "EMOCA_v2_mp", small=True)
    for path in (tmp_path / "EMOCA_v2_mp", checkpoint):
        np.testing.assert_array_equal(DetailDecoder(path)(*codes()), decoder(*codes()))


def test_from_a_folder(path, decoder):
    np.testing.assert_array_equal(DetailDecoder(path.parent)(*codes()), decoder(*codes()))


def test_frozen_in_eval_mode_and_out_of_checkpoints(decoder):
    assert not any(p.requires_grad for p in decoder.parameters())
    assert not any(m.training for m in decoder.train().modules())
    assert not decoder.state_dict()


def test_gradients_reach_the_codes(decoder):
    exp = codes()[1].requires_grad_()
    decoder(codes()[0], exp, codes()[2]).sum().backward()
    assert exp.grad.abs().sum() > 0


def test_wrong_codes(decoder):
    jaw_pose, exp, detail = codes()
    with pytest.raises(ValueError, match=r"expected 3, 50 and 128 numbers per face, got \[\(3,\), \(128,\), \(50,\)\]"):
        decoder(jaw_pose, detail, exp)


def test_wrong_files(tmp_path):
    torch.save({"E_flame": component("E_flame", small=True)}, tmp_path / "a.tar")
    with pytest.raises(ValueError, match=r"a\.tar: DECA's file does not hold.*D_detail: absent"):
        DetailDecoder(tmp_path / "a.tar")
    with pytest.raises(FileNotFoundError, match=r"deca_model\.tar .*was not found"):
        DetailDecoder(tmp_path)
