import math

import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler

from diffrig_emo.diffusion import ScaledLinearSchedule, ddim_sample, invert_ahead, partial_timesteps

PUBLISHED_20 = [1, 26, 52, 78, 105, 131, 157, 184, 210, 236, 263, 289, 315, 342, 368, 394, 421, 447, 473, 500]


@pytest.fixture
def schedule():
    return ScaledLinearSchedule(beta_start=0.0015, beta_end=0.0205)


def test_the_published_schedule(schedule):
    assert schedule.alphas_cumprod[500].item() == pytest.approx(0.1077, abs=1e-4)
    assert schedule.alphas_cumprod[999].item() == pytest.approx(9.7e-5, rel=0.01)


def test_the_published_grids():
    assert partial_timesteps(20) == PUBLISHED_20
    assert partial_timesteps(6) == [1, 100, 200, 300, 400, 500]
    grid = (np.linspace(0, 1, 40) * 500).astype(int)
    grid[0] = 1
    assert partial_timesteps(40) == grid.tolist()


@pytest.mark.parametrize(
    ("numbers", "named"), [((1, 0.5), "num_inference_steps"), ((20, 0.0), "strength"), ((20, 1.5), "strength"),
                           ((600, 0.5), "num_inference_steps")]
)  # fmt: skip
def test_bad_numbers_are_named(numbers, named):
    with pytest.raises(ValueError, match=named):
        partial_timesteps(*numbers)


@pytest.mark.parametrize("prediction_type", ["eps", "v", "x_0"])
def test_a_step_is_that_of_diffusers_inverse_scheduler(schedule, prediction_type):
    """Over an even grid, where diffusers' stride is ours."""
    kind = {"eps": "epsilon", "v": "v_prediction", "x_0": "sample"}[prediction_type]
    reference = DDIMInverseScheduler(
        beta_start=0.0015, beta_end=0.0205, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, prediction_type="epsilon", timestep_spacing="leading",
    )  # fmt: skip
    reference.set_timesteps(10)
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    weight = torch.randn(3, 3, dtype=torch.float64)

    def eps_of(x_t, t):
        return torch.einsum("ij,bjhw->bihw", weight, x_t) * 0.1 + t.view(-1, 1, 1, 1) / 1000

    def denoiser(x_t, t):
        eps = eps_of(x_t, t)
        alpha, sigma = (s.double() for s in schedule.scales(t, x_t))
        clean = (x_t - sigma * eps) / alpha
        return {"epsilon": eps, "v_prediction": alpha * eps - sigma * clean, "sample": clean}[kind]

    steps = [100, 200, 300]
    mine = invert_ahead(denoiser, x, schedule, steps, prediction_type=prediction_type)
    theirs = x
    levels = [float(schedule.alphas_cumprod[0]), *(float(schedule.alphas_cumprod[t]) for t in steps)]
    for number, t in enumerate(steps):
        eps = eps_of(theirs, torch.full((2,), t))
        if number > 0:  # diffusers' first step starts at its own idea of the first level
            theirs = reference.step(eps, t, theirs).prev_sample
        else:
            clean = (theirs - math.sqrt(1 - levels[0]) * eps) / math.sqrt(levels[0])
            theirs = math.sqrt(levels[1]) * clean + math.sqrt(1 - levels[1]) * eps
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


def test_up_and_down_is_exact_where_the_noise_does_not_depend_on_the_way(schedule):
    torch.manual_seed(0)
    x, eps = torch.randn(2, 3, 4, 4, dtype=torch.float64), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    steps = partial_timesteps(20)
    x_t = invert_ahead(lambda x_t, t: eps, x, schedule, steps)
    level = float(schedule.alphas_cumprod[500])
    start = float(schedule.alphas_cumprod[0])
    clean = (x - math.sqrt(1 - start) * eps) / math.sqrt(start)
    torch.testing.assert_close(x_t, math.sqrt(level) * clean + math.sqrt(1 - level) * eps)
    back = ddim_sample(lambda x_t, t: eps, x_t, schedule, steps, clip=False, end=start)
    torch.testing.assert_close(back, x)


def test_steps_must_ascend(schedule):
    with pytest.raises(ValueError, match="ascending"):
        invert_ahead(lambda x_t, t: x_t, torch.zeros(1, 3, 2, 2), schedule, [5, 1])
