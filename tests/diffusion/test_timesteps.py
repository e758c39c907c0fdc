import pytest
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

from diffrig_emo.diffusion import even_timesteps, linspace_timesteps, strided_timesteps


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
