import pytest
import torch

from diffrig_emo.diffusion import LinearSchedule, classifier_free_guidance, ddim_sample, even_timesteps


def cond(x_t, t):
    return torch.tanh(x_t + 0.5)


def uncond(x_t, t):
    return torch.tanh(x_t)


@pytest.mark.parametrize(("scale", "expected"), [(0.0, uncond), (1.0, cond)])
def test_scales_0_and_1_are_the_plain_denoisers(scale, expected):
    x_t, t = torch.randn(2, 3, 4, 4), torch.tensor([3, 3])
    torch.testing.assert_close(classifier_free_guidance(cond, uncond, scale)(x_t, t), expected(x_t, t))


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_guiding_two_known_pictures_moves_along_their_difference(scale):
    grey, bright = torch.full((1, 3, 4, 4), 0.1), torch.full((1, 3, 4, 4), 0.3)
    guided = classifier_free_guidance(lambda x, t: bright, lambda x, t: grey, scale)
    painted = ddim_sample(guided, torch.randn(1, 3, 4, 4), LinearSchedule(), even_timesteps(5), prediction_type="x_0")
    torch.testing.assert_close(painted, grey + scale * (bright - grey))
