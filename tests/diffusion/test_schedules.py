import copy
import math
import pickle

import pytest
import torch
from diffusers import DDIMScheduler
from jsonargparse import ArgumentParser

from diffrig_emo.diffusion import CosineSchedule, LinearSchedule, NoiseSchedule, ScaledLinearSchedule

SCHEDULES = [LinearSchedule(), ScaledLinearSchedule(), CosineSchedule(), LinearSchedule(100), CosineSchedule(50)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (LinearSchedule(), DDIMScheduler(beta_schedule="linear")),
        (ScaledLinearSchedule(), DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)),
        (CosineSchedule(), DDIMScheduler(beta_schedule="squaredcos_cap_v2")),
        (CosineSchedule(100), DDIMScheduler(100, beta_schedule="squaredcos_cap_v2")),
    ],
)
def test_against_diffusers(ours, theirs):
    torch.testing.assert_close(ours.betas.float(), theirs.betas, rtol=1e-4, atol=1e-7)
    # diffusers multiplies a thousand float32 factors.
    torch.testing.assert_close(ours.alphas_cumprod.float(), theirs.alphas_cumprod, rtol=1e-3, atol=1e-9)


def test_cosine_follows_its_closed_form_until_betas_are_clipped():
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    wanted = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(CosineSchedule().alphas_cumprod[:-1], wanted[:-1], rtol=1e-9, atol=0)


def test_linear_is_scaled_to_its_length():
    assert LinearSchedule(100).betas[[0, -1]].tolist() == pytest.approx([1e-3, 0.2], rel=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("prediction_type", ["eps", "v", "x_0"])
def test_a_perfect_prediction_gives_the_picture_and_the_noise_back(schedule, prediction_type):
    t = torch.arange(0, schedule.num_steps, 7)
    x_0, eps = torch.randn(2, len(t), 3, 4, 4, dtype=torch.float64)
    x_t = schedule.add_noise(x_0, eps, t)
    prediction = schedule.target(x_0, eps, t, prediction_type)
    torch.testing.assert_close(schedule.predict_x_0(prediction, x_t, t, prediction_type), x_0, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(schedule.predict_eps(prediction, x_t, t, prediction_type), eps, rtol=1e-7, atol=1e-7)


def test_velocity_is_diffusers():
    x_0, eps, t = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2), torch.tensor([0, 300, 700, 999])
    ours = LinearSchedule().target(x_0, eps, t, "v")
    torch.testing.assert_close(ours, DDIMScheduler().get_velocity(x_0, eps, t), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_snr(schedule):
    t = torch.arange(schedule.num_steps)
    a = schedule.alphas_cumprod
    torch.testing.assert_close(schedule.snr(t, torch.float64), a / (1 - a), rtol=1e-12, atol=0)
    assert schedule.snr(t).dtype == torch.float32
    assert (schedule.snr(t).diff() < 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_pictures_do_not_degrade_the_tables(dtype):
    schedule, t = LinearSchedule(), torch.tensor([0, 1, 500, 999])
    x_0, eps = torch.randn(2, 4, 3, 8, 8).to(dtype)
    noisy = schedule.add_noise(x_0, eps, t)
    assert noisy.dtype == dtype
    assert schedule.alphas_cumprod.dtype == torch.float64
    exact = schedule.add_noise(x_0.double(), eps.double(), t)
    torch.testing.assert_close(noisy, exact.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_tables_first_used_in_inference_mode_serve_training_later():
    schedule, t = LinearSchedule(), torch.tensor([5])
    with torch.inference_mode():
        schedule.add_noise(torch.ones(1, 2), torch.ones(1, 2), t)
    x_0 = torch.ones(1, 2, requires_grad=True)
    schedule.add_noise(x_0, torch.ones(1, 2), t).sum().backward()
    torch.testing.assert_close(x_0.grad[0, 0].double(), schedule.alphas_cumprod[5].sqrt(), rtol=1e-6, atol=0)


def test_copies_and_pickles():
    schedule = CosineSchedule(20)
    schedule.snr(torch.tensor([3]))
    for other in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert torch.equal(other.alphas_cumprod, schedule.alphas_cumprod)
        assert other.snr(torch.tensor([3])) == schedule.snr(torch.tensor([3]))


def test_from_a_config():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--schedule", type=NoiseSchedule)
    config = {"class_path": "diffrig_emo.diffusion.CosineSchedule", "init_args": {"num_steps": 30}}
    built = parser.instantiate(parser.parse_object({"schedule": config})).schedule
    assert isinstance(built, CosineSchedule)
    assert built.num_steps == 30


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s, x: s.add_noise(x, x, torch.tensor([0, 1000])), r"0 \.\.\. 999, got 0 \.\.\. 1000"),
        (lambda s, x: s.add_noise(x, x, torch.tensor([-1, 0])), r"got -1 \.\.\. 0"),
        (lambda s, x: s.add_noise(x, x, torch.tensor([0.5, 1.0])), "integer steps, got torch.float32"),
        (lambda s, x: s.add_noise(x, x, torch.tensor([3])), r"one step per sample, shape \(2,\), got \(1,\)"),
        (lambda s, x: s.add_noise(x, x[:, :1], torch.tensor([3, 4])), "eps must have the shape of x_0"),
        (lambda s, x: s.target(x, x, torch.tensor([3, 4]), "epsilon"), "'epsilon'"),
        (lambda s, x: NoiseSchedule(torch.tensor([0.1, 1.0])), "betas"),
        (lambda s, x: CosineSchedule(0), "num_steps must be at least 1, got 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(LinearSchedule(), torch.zeros(2, 3))
