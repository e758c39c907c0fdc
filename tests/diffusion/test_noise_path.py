import math

import pytest
import torch

from diffrig_emo.diffusion import CosineSchedule, LinearSchedule, NoisePath, even_timesteps, strided_timesteps

SCHEDULE = LinearSchedule()


@pytest.fixture
def image():
    return torch.rand(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def white(x_t, t):
    """The best eps predictor for pictures of white noise: what DDIM makes of them is known."""
    return (1 - SCHEDULE.alphas_cumprod[t]).sqrt().view(-1, 1, 1, 1) * x_t


def knowing(image):
    return lambda x_t, t: 2 * image - 1


@pytest.mark.parametrize("strength", [0.001, 0.3, 0.9])
def test_inverted_pictures_end_at_the_level_of_the_last_step(image, strength):
    """In a world of one picture, DDIM goes up by the forward process, with the noise that it started from: none."""
    path = NoisePath(CosineSchedule(), even_timesteps(8), "x_0", strength=strength)
    assert path.steps[-1] == round(strength * 999)
    latent = path.invert(knowing(image), image)
    first, last = (float(path.schedule.alphas_cumprod[path.steps[i]]) for i in (0, -1))
    eps = (1 - math.sqrt(first)) / math.sqrt(1 - first) * (2 * image - 1)  # pictures are taken to be at the first step
    expected = math.sqrt(last) * (2 * image - 1) + math.sqrt(1 - last) * eps
    torch.testing.assert_close(latent, expected, atol=1e-8, rtol=0)


@pytest.mark.parametrize("strength", [0.4, 1.0])
def test_white_pictures_turn_by_the_angles_of_the_schedule(image, strength):
    path = NoisePath(SCHEDULE, strided_timesteps(20), "eps", strength=strength)
    angles = SCHEDULE.alphas_cumprod[path.steps].sqrt().arccos()
    top = math.pi / 2 if strength == 1 else float(angles[-1])
    up = math.prod(torch.cos(torch.cat([angles, angles.new_tensor([top])]).diff()).tolist())
    small = 0.5 + 0.1 * (image - 0.5)  # nothing is clamped on the way
    torch.testing.assert_close(path.invert(white, small), up * (2 * small - 1), rtol=1e-12, atol=0)


def test_the_whole_way_is_noise_and_a_part_of_it_is_the_forward_process(image):
    eps = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    assert torch.equal(NoisePath(SCHEDULE, even_timesteps(5), "eps").noised(image, eps), eps)
    a = float(SCHEDULE.alphas_cumprod[500])
    half = NoisePath(SCHEDULE, even_timesteps(5), "eps", strength=0.5).noised(image, eps)
    torch.testing.assert_close(half, math.sqrt(a) * (2 * image - 1) + math.sqrt(1 - a) * eps)


def test_loosening_takes_noise_and_leaves_the_picture(image):
    eps, hold = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.rand(2, 1, 8, 8, dtype=torch.float64)
    whole = NoisePath(SCHEDULE, even_timesteps(5), "eps")
    assert torch.equal(whole.loosened(eps, image, hold), hold * eps)
    half = NoisePath(SCHEDULE, even_timesteps(5), "eps", strength=0.5)
    torch.testing.assert_close(half.loosened(half.noised(image, eps), image, hold), half.noised(image, hold * eps))


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
@pytest.mark.parametrize("strength", [1e-4, 0.5, 1.0])
def test_every_way_down_ends_at_the_picture_that_the_denoiser_knows(image, sampler, strength):
    path = NoisePath(SCHEDULE, even_timesteps(7), "x_0", sampler, strength=strength)
    torch.testing.assert_close(path.paint(knowing(image), torch.randn_like(image)), image)


def test_steps_below_the_schedule_are_refused_with_the_rest():
    for settings in ({"strength": -0.1}, {"eta": -0.1}, {"sampler": "heun"}, {"sampler": "dpm", "eta": 1.0}):
        with pytest.raises(ValueError, match=next(reversed(settings))):
            NoisePath(SCHEDULE, even_timesteps(7), "x_0", **settings)
