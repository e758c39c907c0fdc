import math

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler, DPMSolverMultistepScheduler
from torch import nn

from diffrig_emo.diffusion import (
    LinearSchedule,
    ddim_invert,
    ddim_sample,
    dpm_solver_sample,
    even_timesteps,
    linspace_timesteps,
    log_snr_timesteps,
    strided_timesteps,
)

SCHEDULE = LinearSchedule()
THEIR_NAMES = {"eps": "epsilon", "v": "v_prediction", "x_0": "sample"}


@pytest.fixture(scope="module")
def denoiser():
    """A small random network that looks at x_t and t."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 3, 3, padding=1).double().requires_grad_(False)
    return lambda x_t, t: torch.tanh(conv(x_t) + t.double().view(-1, 1, 1, 1) / 1000)


@pytest.fixture(scope="module")
def noise():
    return torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def exact(scheduler):
    """Diffusers keeps its tables in float32; give it ours, so that the rules alone are compared."""
    scheduler.alphas_cumprod = SCHEDULE.alphas_cumprod
    return scheduler


@pytest.mark.parametrize("prediction_type", ["eps", "v", "x_0"])
@pytest.mark.parametrize("clip", [True, False])
def test_ddim_against_diffusers(denoiser, noise, prediction_type, clip):
    theirs = exact(
        DDIMScheduler(
            prediction_type=THEIR_NAMES[prediction_type], clip_sample=clip, timestep_spacing="leading", steps_offset=0
        )
    )
    theirs.set_timesteps(20)
    x_t = noise
    for t in theirs.timesteps:
        x_t = theirs.step(denoiser(x_t, t[None]), t, x_t, use_clipped_model_output=True).prev_sample
    ours = ddim_sample(denoiser, noise, SCHEDULE, strided_timesteps(20), prediction_type=prediction_type, clip=clip)
    torch.testing.assert_close(ours, x_t, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_stochastic_ddim_against_diffusers(denoiser, noise, eta):
    theirs = exact(DDIMScheduler(clip_sample=True, timestep_spacing="leading", steps_offset=0))
    theirs.set_timesteps(20)
    x_t, generator = noise, torch.Generator().manual_seed(3)
    for t in theirs.timesteps:
        z = torch.randn(noise.shape, generator=generator).double() if t > 0 else torch.zeros_like(noise)
        answer = denoiser(x_t, t[None])
        x_t = theirs.step(answer, t, x_t, eta=eta, use_clipped_model_output=True, variance_noise=z).prev_sample
    generator = torch.Generator().manual_seed(3)
    visited = []
    ours = ddim_sample(
        denoiser,
        noise,
        SCHEDULE,
        strided_timesteps(20),
        eta=eta,
        generator=generator,
        callback=lambda step: visited.append(step.timestep),
    )
    assert visited == theirs.timesteps.tolist()
    torch.testing.assert_close(ours, x_t, rtol=1e-5, atol=1e-6)


def test_ddim_invert_against_diffusers(denoiser, noise):
    """Diffusers asks the network at the step it goes to; told the step it comes from, it must agree."""
    theirs = exact(DDIMInverseScheduler(clip_sample=False, timestep_spacing="leading", steps_offset=0))
    theirs.set_timesteps(20)
    assert theirs.timesteps.tolist() == strided_timesteps(20)
    x_0, x_t, after = noise.clamp(-1, 1), noise.clamp(-1, 1), []
    for t in theirs.timesteps[1:]:
        x_t = theirs.step(denoiser(x_t, t[None] - 50), t, x_t).prev_sample
        after.append(x_t)
    steps = []
    x_T = ddim_invert(denoiser, x_0, SCHEDULE, strided_timesteps(20), clip=False, callback=steps.append)
    torch.testing.assert_close(torch.stack([s.x_t for s in steps[:-1]]), torch.stack(after), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(x_T, denoiser(x_t, torch.tensor([950])), rtol=1e-6, atol=1e-7)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' way with NumPy
@pytest.mark.parametrize("prediction_type", ["eps", "v", "x_0"])
@pytest.mark.parametrize("count", [1, 2, 10, 25])
def test_dpm_solver_against_diffusers(denoiser, noise, prediction_type, count):
    theirs = DPMSolverMultistepScheduler(
        prediction_type=THEIR_NAMES[prediction_type], timestep_spacing="linspace", final_sigmas_type="zero"
    )
    theirs.set_timesteps(count)
    x_t = noise
    for t in theirs.timesteps:
        x_t = theirs.step(denoiser(x_t, t[None]), t, x_t).prev_sample
    grid = linspace_timesteps(count)
    ours = dpm_solver_sample(denoiser, noise, SCHEDULE, grid, prediction_type=prediction_type, clip=False)
    scale = float(x_t.abs().max())  # unclipped predictions of a random network grow
    torch.testing.assert_close(ours / scale, x_t / scale, rtol=2e-4, atol=2e-4)


def gaussian_denoiser(spread, schedule=SCHEDULE):
    """The best possible denoiser, of all eps predictors, for pictures distributed as N(0, spread^2)."""

    def denoiser(x_t, t):
        a = schedule.alphas_cumprod[t].view(-1, *[1] * (x_t.ndim - 1))
        return (1 - a).sqrt() * x_t / (a * spread**2 + 1 - a)

    return denoiser


def test_ddim_on_white_pictures_turns_by_the_angles_of_the_schedule(noise):
    """For spread 1 each step multiplies by cos(angle - angle_to), where alpha = cos(angle), exactly."""
    grid = even_timesteps(12)
    angles = SCHEDULE.alphas_cumprod[grid].sqrt().arccos()
    down = math.prod(torch.cos(torch.cat([angles[:1], angles.diff()])).tolist())
    torch.testing.assert_close(
        ddim_sample(gaussian_denoiser(1.0), noise, SCHEDULE, grid, clip=False), down * noise, rtol=1e-12, atol=0
    )
    up = math.prod(torch.cos(angles.diff()).tolist()) * math.cos(math.pi / 2 - angles[-1])
    torch.testing.assert_close(
        ddim_invert(gaussian_denoiser(1.0), noise, SCHEDULE, grid, clip=False), up * noise, rtol=1e-12, atol=0
    )


@pytest.mark.parametrize(("sampler", "order"), [(ddim_sample, 1), (dpm_solver_sample, 2)])
def test_order_of_convergence_to_the_exact_flow(sampler, order):
    """The flow of a Gaussian is known: |x_t| follows the marginal's spread, sqrt(a spread^2 + 1 - a)."""
    spread, errors = 2.0, []
    schedule = LinearSchedule(20_000)  # so fine that steps can be evenly spaced in log SNR
    log_snr = torch.log(schedule.alphas_cumprod / (1 - schedule.alphas_cumprod))
    for count in (40, 80):
        wanted = torch.linspace(float(log_snr[400]), float(log_snr[19_800]), count + 1, dtype=torch.float64)
        grid = [int((log_snr - w).abs().argmin()) for w in wanted]
        a = schedule.alphas_cumprod[grid]
        marginal = (a * spread**2 + 1 - a).sqrt()
        steps = []
        denoiser = gaussian_denoiser(spread, schedule)
        sampler(denoiser, marginal[-1:], schedule, grid, clip=False, callback=steps.append)
        errors.append(float((steps[-2].x_t - marginal[0]).abs()))  # the last step leaves the grid, for x_0
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.1


@pytest.mark.parametrize("spread", [0.1, 0.5, 2.0])
def test_ten_steps_of_the_solver_on_its_grid_beat_twenty_of_ddim(spread):
    """Both against the exact flow of a Gaussian, from full noise to the picture."""
    start = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    a = SCHEDULE.alphas_cumprod[-1]
    exact = float(spread / (a * spread**2 + 1 - a).sqrt())
    denoiser = gaussian_denoiser(spread)
    solver = dpm_solver_sample(denoiser, start, SCHEDULE, log_snr_timesteps(10, SCHEDULE), clip=False)
    ddim = ddim_sample(denoiser, start, SCHEDULE, even_timesteps(20), clip=False)
    assert abs(float(solver) / exact - 1) < 0.04
    assert abs(float(solver) - exact) < 0.6 * abs(float(ddim) - exact)


def test_full_noise_is_removed_by_a_denoiser_that_knows_the_picture(noise):
    picture = torch.rand(2, 3, 8, 8, dtype=torch.float64) * 2 - 1

    def denoiser(x_t, t):
        return picture

    for sampler in (ddim_sample, dpm_solver_sample):
        painted = sampler(denoiser, noise, SCHEDULE, strided_timesteps(10), prediction_type="x_0")
        torch.testing.assert_close(painted, picture)


def test_samplers_keep_gradients():
    gain = torch.tensor(0.5, requires_grad=True)
    for sampler in (ddim_sample, ddim_invert, dpm_solver_sample):
        gain.grad = None
        sampler(lambda x, t: gain * x, torch.ones(1, 1, 2, 2), SCHEDULE, [0, 500, 900], clip=False).sum().backward()
        assert gain.grad.abs() > 0


@pytest.mark.parametrize("sampler", [ddim_sample, ddim_invert, dpm_solver_sample])
@pytest.mark.parametrize("timesteps", [[], [900, 0], [0, 5, 5], [0, 1000], [-1, 5]])
def test_bad_timesteps_are_named_before_the_network_runs(sampler, timesteps):
    with pytest.raises(ValueError, match=r"timesteps must be ascending, .* 0 \.\.\. 999"):
        sampler(None, torch.zeros(1, 3, 4, 4), SCHEDULE, timesteps)


def test_bad_eta_is_named():
    with pytest.raises(ValueError, match="eta must lie in"):
        ddim_sample(None, torch.zeros(1, 3, 4, 4), SCHEDULE, [0, 5], eta=1.5)
