import math

import pytest
import torch

from diffrig_emo.diffusion import CosineSchedule, ddim_invert, ddim_sample, even_timesteps
from diffrig_emo.diffusion.edit_chains import InversionEdit, OneStepEdit, TruncatedEdit


class Shifted(torch.nn.Module):
    """The optimal denoiser of a world with one picture, whose grey value is learned; counts its evaluations."""

    def __init__(self, grey: float):
        super().__init__()
        self.grey = torch.nn.Parameter(torch.tensor(grey))
        self.calls = 0

    def forward(self, x_t, t):
        self.calls += 1
        return self.grey.expand_as(x_t)


@pytest.fixture
def x_0():
    return torch.full((3, 3, 8, 8), -0.5)


CHAINS = {
    "one_step": OneStepEdit(),
    "truncated": TruncatedEdit(num_steps=6, last=2),
    "inversion": InversionEdit(num_steps=4, strength=0.5),
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_every_chain_ends_at_what_the_denoiser_believes_and_passes_gradients(chain, x_0):
    own, wanted = Shifted(-0.5), Shifted(0.25)
    torch.manual_seed(0)
    edit = chain(x_0, own, wanted, CosineSchedule(), "x_0")
    torch.testing.assert_close(edit.x_0, torch.full_like(x_0, 0.25))
    assert edit.weight.shape == (3,)
    assert bool(((edit.weight > 0) & (edit.weight <= 1)).all())
    edit.x_0.mean().backward()
    assert wanted.grey.grad is not None
    assert wanted.grey.grad > 0
    assert own.grey.grad is None


def test_the_last_step_alone_carries_the_whole_gradient_of_an_x_0_world(x_0):
    wanted = Shifted(0.25)
    TruncatedEdit(num_steps=6, last=1)(x_0, Shifted(-0.5), wanted, CosineSchedule(), "x_0").x_0.mean().backward()
    torch.testing.assert_close(wanted.grey.grad, torch.tensor(1.0))


def test_the_truncated_chain_is_the_edit_of_inference(x_0):
    schedule, steps = CosineSchedule(), even_timesteps(6)

    def denoiser(gain):
        return lambda x_t, t: gain * x_t * torch.cos(t.view(-1, 1, 1, 1) / 400)

    torch.manual_seed(0)
    source = torch.rand(2, 3, 8, 8) - 0.5
    hold = torch.rand(2, 1, 8, 8)
    latent = ddim_invert(denoiser(0.3), source, schedule, steps, prediction_type="v")
    expected = ddim_sample(denoiser(0.5), hold * latent, schedule, steps, prediction_type="v")
    for last in (1, 3, 6):
        edit = TruncatedEdit(num_steps=6, last=last)(source, denoiser(0.3), denoiser(0.5), schedule, "v", hold)
        torch.testing.assert_close(edit.x_0, expected)


def test_checkpointing_changes_neither_edit_nor_gradient(x_0):
    grads = []
    for checkpointing in (True, False):
        wanted = torch.nn.Conv2d(3, 3, 3, padding=1)
        with torch.no_grad():
            wanted.weight.copy_(torch.linspace(-0.1, 0.1, 81).view(3, 3, 3, 3))
            wanted.bias.zero_()
        chain = TruncatedEdit(num_steps=5, last=3, checkpointing=checkpointing)
        net = wanted
        chain(
            x_0, lambda x, t: 0 * x, lambda x, t, net=net: net(x), CosineSchedule(), "v"
        ).x_0.square().mean().backward()
        grads.append(wanted.weight.grad.clone())
    torch.testing.assert_close(grads[0], grads[1])


def test_a_partial_inversion_reaches_its_level_and_comes_back():
    """With the exact denoiser of Gaussian pictures the chain up and down is the identity, but for its step size."""
    schedule = CosineSchedule()

    def gaussian(x_t, t):  # pictures ~ N(0, 0.3^2): E[x_0 | x_t]
        a = schedule.alphas_cumprod[t].float().view(-1, 1, 1, 1)
        return 0.09 * a.sqrt() / (0.09 * a + 1 - a) * x_t

    torch.manual_seed(0)
    source = 0.3 * torch.randn(2, 3, 16, 16)
    errors = []
    for steps in (10, 40):
        edit = InversionEdit(num_steps=steps, strength=0.6)(source, gaussian, gaussian, schedule, "x_0")
        errors.append((edit.x_0 - source).abs().mean())
    assert errors[0] < 0.08
    assert errors[1] < 0.3 * errors[0]


def test_guesses_from_noisy_levels_count_less():
    schedule = CosineSchedule()
    torch.manual_seed(0)
    seen = []

    def denoiser(x_t, t):
        seen.append(t)
        return torch.zeros_like(x_t)

    chain = OneStepEdit(lowest=0.1, highest=0.9, gamma=2.0)
    weight = chain(torch.zeros(64, 3, 4, 4), denoiser, denoiser, schedule, "x_0").weight
    t = seen[0]
    assert 100 <= t.min() < 130
    assert 870 < t.max() <= 900
    a = schedule.alphas_cumprod[t]
    torch.testing.assert_close(weight.double(), (a / (1 - a) / 2).clamp(max=1), rtol=1e-5, atol=1e-6)
    assert weight[t.argmax()] < 0.05 < 1 == weight[t.argmin()]


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"lowest=0\.9, highest=0\.2"):
        OneStepEdit(lowest=0.9, highest=0.2)
    with pytest.raises(ValueError, match="num_steps=4, got 5"):
        TruncatedEdit(num_steps=4, last=5)
    with pytest.raises(ValueError, match="strength"):
        InversionEdit(strength=0.0)


def test_a_chain_may_stop_on_the_way():
    schedule, steps = CosineSchedule(), even_timesteps(6)

    def denoiser(x_t, t):
        return 0.4 * x_t

    torch.manual_seed(0)
    noise = torch.randn(1, 3, 8, 8)
    level = float(schedule.alphas_cumprod[steps[2]])
    halfway = ddim_sample(denoiser, noise, schedule, steps[3:], prediction_type="v", end=level)
    both = ddim_sample(denoiser, halfway, schedule, steps[:3], prediction_type="v")
    torch.testing.assert_close(both, ddim_sample(denoiser, noise, schedule, steps, prediction_type="v"))
    up = ddim_invert(
        denoiser, both, schedule, steps[:3], prediction_type="v", end=float(schedule.alphas_cumprod[steps[3]])
    )
    full = ddim_invert(denoiser, up, schedule, steps[3:], prediction_type="v")
    torch.testing.assert_close(full, ddim_invert(denoiser, both, schedule, steps, prediction_type="v"))
    assert math.isfinite(float(full.sum()))
