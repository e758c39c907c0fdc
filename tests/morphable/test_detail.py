from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from diffrig_emo.morphable import DetailDecoder, read_detail_maps
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


@pytest.fixture
def maps_folder(tmp_path):
    """Two maps in the official formats: grey in four channels, and float64."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (256, 256, 1), dtype=np.uint8)
    picture = np.concatenate([grey.repeat(3, axis=2), np.full_like(grey, 255)], axis=2)
    Image.fromarray(picture).save(tmp_path / "uv_face_eye_mask.png")
    np.save(tmp_path / "fixed_displacement_256.npy", 1e-3 * rng.standard_normal((256, 256)))
    return tmp_path


def test_the_two_maps(maps_folder):
    maps = read_detail_maps(maps_folder, maps_folder)
    grey = np.array(Image.open(maps_folder / "uv_face_eye_mask.png"))[..., 0]
    np.testing.assert_allclose(maps.face_mask, grey / 255, atol=1e-7)
    np.testing.assert_allclose(maps.fixed_displacement, np.load(maps_folder / "fixed_displacement_256.npy"), atol=1e-9)
    assert maps.face_mask.dtype == maps.fixed_displacement.dtype == torch.float32


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"no array"])
def test_a_damaged_map_is_named(maps_folder, content):
    (maps_folder / "fixed_displacement_256.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"fixed_displacement_256\.npy: expected an array of 256 x 256 numbers"):
        read_detail_maps(maps_folder, maps_folder)


def test_a_map_of_another_size_or_none(maps_folder):
    np.save(maps_folder / "fixed_displacement_256.npy", np.zeros((128, 128)))
    with pytest.raises(ValueError, match=r"expected 256 x 256 finite numbers, got a map of shape \(128, 128\)"):
        read_detail_maps(maps_folder, maps_folder)
    (maps_folder / "fixed_displacement_256.npy").unlink()
    with pytest.raises(FileNotFoundError, match="Where to get it"):
        read_detail_maps(maps_folder, maps_folder)
