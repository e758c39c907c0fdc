import math

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from diffrig_emo.diffusion import (
    CosineSchedule,
    LinearSchedule,
    even_spacing,
    even_timesteps,
    linspace_timesteps,
    log_snr_timesteps,
    squeeze_timesteps,
    strided_spacing,
    strided_timesteps,
)


def theirs(scheduler, count):
    scheduler.set_timesteps(count)
    return sorted(scheduler.timesteps.tolist())


@pytest.mark.parametrize("count", [5, 10, 20, 50, 100, 250, 1000])
def test_strided_is_diffusers_leading_spacing_where_it_divides(count):
    assert strided_timesteps(count) == theirs(DDIMScheduler(timestep_spacing="leading"), count)


def test_the_counts_that_a_stride_can_give():
    possible = []
    for count in range(1, 1001):
        try:
            assert len(strided_timesteps(count)) == count
        except ValueError:
            continue
        possible.append(count)
    published = [38, 39, 40, 42, 44, 46, 48, 50, 53, 56, 59, 63, 67, 72, 77, 84, 91, 100, 112, 125, 143, 167, 200, 250]
    assert possible == [*range(2, 37), *published, 334, 500, 1000]


def test_impossible_counts_raise_with_what_is_possible_nearby():
    with pytest.raises(ValueError, match=r"exactly 300 of 1000 steps; nearby .* 167, 200, 250, 334, 500, 1000$"):
        strided_timesteps(300)


@pytest.mark.parametrize("count", [2, 7, 20, 999])
def test_even_is_diffusers_linspace(count):
    assert even_timesteps(count) == theirs(DDIMScheduler(timestep_spacing="linspace"), count)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' way with NumPy
@pytest.mark.parametrize("count", [1, 7, 20, 50])
def test_linspace_is_the_solvers(count):
    assert linspace_timesteps(count) == theirs(DPMSolverMultistepScheduler(timestep_spacing="linspace"), count)


@pytest.mark.parametrize("grid", [strided_timesteps, even_timesteps, linspace_timesteps])
@pytest.mark.parametrize("num_steps", [10, 50, 1000])
def test_grids_are_ascending_steps_of_the_schedule(grid, num_steps):
    steps = grid(5, num_steps)
    assert len(steps) == 5
    assert steps == sorted(set(steps))
    assert 0 <= steps[0] <= steps[-1] < num_steps
    assert all(type(t) is int for t in steps)


@pytest.mark.parametrize("grid", [strided_timesteps, even_timesteps, linspace_timesteps])
@pytest.mark.parametrize("count", [0, -3, 1001])
def test_counts_out_of_range_are_named(grid, count):
    with pytest.raises(ValueError, match=f"got {count}$"):
        grid(count)


@pytest.mark.parametrize("schedule", [LinearSchedule(50_000), CosineSchedule(50_000)])
@pytest.mark.parametrize("last", [None, 20_000])
def test_log_snr_steps_are_evenly_apart_in_log_snr(schedule, last):
    """On a schedule so fine that steps hit any level."""
    grid = log_snr_timesteps(9, schedule, last)
    assert len(grid) == 9
    assert grid[-1] == (49_999 if last is None else last)
    half_log_snr = torch.log(schedule.alphas_cumprod / (1 - schedule.alphas_cumprod))[grid] / 2
    if last is None:  # its own level is far out, and stands for the one where pictures have a spread of 0.02
        half_log_snr[-1] = -math.log(50)
    gaps = half_log_snr.diff()
    torch.testing.assert_close(gaps, gaps.mean().expand(8), rtol=0.01, atol=0)
    sigma = float((1 - schedule.alphas_cumprod[grid[0]]).sqrt())
    assert sigma == pytest.approx(0.02, rel=0.01)


def test_log_snr_steps_fall_together_where_there_is_little_room():
    assert log_snr_timesteps(10, LinearSchedule(), 0) == [0]
    assert log_snr_timesteps(1, LinearSchedule()) == [999]
    few = log_snr_timesteps(20, CosineSchedule(50))
    assert few == sorted(set(few))
    assert few[-1] == 49
    with pytest.raises(ValueError, match=r"last must lie in 0 \.\.\. 999, got 1000"):
        log_snr_timesteps(10, LinearSchedule(), 1000)


@pytest.mark.parametrize("grid", [strided_timesteps, even_timesteps, linspace_timesteps])
def test_a_squeezed_grid_is_the_same_in_small(grid):
    steps = grid(10)
    assert squeeze_timesteps(steps, 1) == steps
    half = squeeze_timesteps(steps, 0.5)
    assert all(abs(h - s / 2) <= 0.5 for h, s in zip(half, steps, strict=True))
    assert squeeze_timesteps(steps, 1e-5) == [0]
    for strength in (0, -1, 1.01):
        with pytest.raises(ValueError, match=rf"strength must be above 0 and at most 1, got {strength}"):
            squeeze_timesteps(steps, strength)


def test_spacings_are_the_grids_of_a_schedule():
    schedule = CosineSchedule(num_steps=200)
    assert even_spacing(5, schedule) == even_timesteps(5, 200)
    assert strided_spacing(5, schedule) == strided_timesteps(5, 200)
    assert log_snr_timesteps(5, schedule)[-1] == 199
