import numpy as np
import pytest
import torch

from diffrig_emo.diffusion import even_timesteps, strided_timesteps
from diffrig_emo.losses.functional import p2_weight


def test_linear_schedule(numbers, schedule):
    reference = numbers("schedules.npz")
    np.testing.assert_allclose(schedule.betas.numpy(), reference["betas.linear.1000"], rtol=1e-12)
    np.testing.assert_allclose(schedule.alphas_cumprod.numpy(), reference["alphas_cumprod.linear.1000"], rtol=1e-12)


@pytest.mark.parametrize("respacing", ["ddim5", "ddim20", "ddim50", "ddim100", "10"])
def test_respaced_schedules(numbers, schedule, respacing):
    reference = numbers("schedules.npz")
    count = int(respacing.removeprefix("ddim"))
    grid = strided_timesteps(count) if respacing.startswith("ddim") else even_timesteps(count)
    assert grid == reference[f"timesteps.{respacing}"].tolist()
    levels = schedule.alphas_cumprod[grid].numpy()
    before = np.concatenate([[1.0], levels[:-1]])
    after = np.concatenate([levels[1:], [0.0]])
    np.testing.assert_allclose(1 - levels / before, reference[f"spaced_betas.{respacing}"], rtol=1e-12)
    np.testing.assert_allclose(levels, reference[f"spaced_alphas_cumprod.{respacing}"], rtol=1e-12)
    np.testing.assert_allclose(before, reference[f"spaced_alphas_cumprod_prev.{respacing}"], rtol=1e-12)
    np.testing.assert_allclose(after, reference[f"spaced_alphas_cumprod_next.{respacing}"], rtol=1e-12)


@pytest.mark.parametrize(("name", "gamma", "k"), [("p2_g1_k1", 1.0, 1.0), ("p2_g0.5_k2", 0.5, 2.0)])
def test_p2_weights_of_all_steps(numbers, schedule, name, gamma, k):
    weight = p2_weight(schedule.snr(torch.arange(1000), dtype=torch.float64), gamma, k)
    np.testing.assert_allclose(weight.numpy(), numbers("loss_small.npz")[f"weight.{name}"], rtol=1e-12)
