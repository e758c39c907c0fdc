"""Diffusion Autoencoders' own numbers, for the weights and inputs of `fill.py`."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from diffrig_emo.diffusion import (
    ConditionedUNet,
    LinearSchedule,
    SemanticEncoder,
    VectorModulation,
    ddim_invert,
    ddim_sample,
    export_diffae,
    load_diffae,
    strided_timesteps,
)
from diffrig_emo.losses.functional import denoising_loss
from diffrig_emo.structures import Conditioning

HERE = Path(__file__).parent
PRESETS = {  # base channels, the UNet's and the encoder's multipliers, parameters in all and of the encoder
    64: (64, (1, 2, 4, 8), (1, 2, 4, 8, 8), 90_839_235, 19_320_512),
    128: (128, (1, 1, 2, 3, 4), (1, 1, 2, 3, 4, 4), 128_545_155, 24_673_536),
    256: (128, (1, 1, 2, 2, 4, 4), (1, 1, 2, 2, 4, 4, 4), 168_492_291, 30_150_400),
}


def assert_same_pass(ours, reference):
    """Single network passes differ by rounding only: 2e-5 of the largest value."""
    np.testing.assert_allclose(ours.detach().numpy(), reference, rtol=0, atol=2e-5 * np.abs(reference).max())


def conditioning(code):
    return Conditioning(vectors={"semantic": code})


@pytest.fixture(scope="module")
def code(small, tensor):
    with torch.no_grad():
        return small[1](tensor("image", 2, 3, 32, 32))


def test_encoder(code, numbers):
    assert_same_pass(code, numbers("forward_small.npz")["z_sem"])


def test_scales_of_every_block(small, code, numbers):
    blocks = small[0].residual_blocks()
    styles = torch.cat([block.vectors["semantic"](F.silu(code)) for block in blocks], dim=1)
    assert_same_pass(styles, numbers("forward_small.npz")["encode_stylespace"])


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("t", ["0", "1", "50", "500", "999", "mixed"])
def test_unet(small, code, tensor, numbers, t, grad):
    steps = torch.tensor([7, 321]) if t == "mixed" else torch.full((2,), int(t))
    with torch.set_grad_enabled(grad):
        ours = small[0](tensor("x", 2, 3, 32, 32, normal=True), steps, conditioning(code))
    assert_same_pass(ours, numbers("forward_small.npz")["unet.mixed_t" if t == "mixed" else f"unet.t{t}"])


@torch.no_grad()
def test_ten_steps_there_and_back(small, code, tensor, numbers):
    reference, seen = numbers("ddim_T10_small.npz"), []
    grid, schedule, cond = strided_timesteps(10), LinearSchedule(), conditioning(code[:1])
    assert grid == reference["timesteps"].tolist()

    def denoiser(x_t, t):
        return small[0](x_t, t, cond)

    x_T = ddim_invert(denoiser, tensor("image", 2, 3, 32, 32)[:1], schedule, grid, callback=seen.append)
    np.testing.assert_allclose(torch.cat([s.x_t for s in seen]), reference["reverse_samples"], rtol=0, atol=5e-4)
    np.testing.assert_allclose(x_T, reference["x_T"], rtol=0, atol=5e-4)
    render = ddim_sample(denoiser, x_T, schedule, grid)
    np.testing.assert_allclose(render, reference["render"], rtol=0, atol=5e-3)

    noise = tensor("x_T10", 1, 3, 32, 32, normal=True)
    np.testing.assert_allclose(
        ddim_sample(denoiser, noise, schedule, grid), reference["render_random"], rtol=0, atol=5e-4
    )
    unclipped = ddim_sample(denoiser, noise, schedule, grid, clip=False)
    largest = np.abs(reference["render_random_noclip"]).max()
    np.testing.assert_allclose(unclipped, reference["render_random_noclip"], rtol=0, atol=1e-5 * largest)


@torch.no_grad()
def test_loss(small, code, tensor, numbers):
    reference, schedule = numbers("loss_small.npz"), LinearSchedule()
    x_0, eps = tensor("image", 2, 3, 32, 32), tensor("noise", 2, 3, 32, 32, normal=True)
    t = torch.from_numpy(reference["t"])
    prediction = small[0](schedule.add_noise(x_0, eps, t), t, conditioning(code))
    np.testing.assert_allclose(denoising_loss(prediction, eps), reference["loss"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("image_size", PRESETS)
def test_official_networks(image_size):
    base, mult, encoder_mult, total, of_encoder = PRESETS[image_size]
    with torch.device("meta"):
        unet = ConditionedUNet(
            vectors=[VectorModulation("semantic", 512, shift=False)],
            image_size=image_size,
            base_channels=base,
            channel_mult=mult,
            attention_resolutions=(16,),
            time_embed_dim=512,
        )
        encoder = SemanticEncoder(image_size, base, encoder_mult)
    assert sum(p.numel() for p in encoder.parameters()) == of_encoder
    assert sum(p.numel() for p in unet.parameters()) == total - of_encoder
    official = json.loads((HERE / f"keys_ffhq{image_size}_autoenc.json").read_text())
    assert {name: list(t.shape) for name, t in export_diffae(unet, encoder).items()} == official


def test_weights_survive_the_way_to_the_official_names_and_back(small, official_small):
    exported = export_diffae(*small)
    assert exported.keys() == official_small.keys()
    assert all(torch.equal(exported[name], value) for name, value in official_small.items())


def test_a_checkpoint_that_does_not_fit_is_refused_before_anything_is_changed(small, official_small):
    broken = {name: value + 1 for name, value in official_small.items() if name != "encoder.out.3.bias"}
    broken["encoder.extra"] = torch.zeros(1)
    broken["input_blocks.1.0.cond_emb_layers.1.weight"] = torch.zeros(64, 64)
    with pytest.raises(
        ValueError, match=r"encoder: 1 missing \(encoder.out.3.bias\), 1 unexpected \(encoder.extra\)"
    ) as e:
        load_diffae(broken, *small)
    assert "UNet: 1 mis-sized (input_blocks.1.0.cond_emb_layers.1.weight is (64, 64), wanted (32, 64))" in str(e.value)
    assert torch.equal(export_diffae(*small)["out.2.bias"], official_small["out.2.bias"])
