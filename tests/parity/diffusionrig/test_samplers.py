import numpy as np
import pytest
import torch

from diffrig_emo.diffusion import ddim_invert, ddim_sample, strided_timesteps


@pytest.fixture(scope="module")
def denoiser(small, conditions):
    physic, code = conditions
    return small.denoiser(physic[:1], code[:1])


@pytest.fixture(scope="module")
def grid():
    return strided_timesteps(20)


@torch.no_grad()
def test_ddim_sample(denoiser, schedule, grid, normal, numbers):
    reference = numbers("ddim_sample_small.npz")
    assert grid == reference["timesteps"].tolist()
    x_T, seen = normal("small/x_T", 1, 3, 64, 64), []
    ours = ddim_sample(denoiser, x_T, schedule, grid, callback=seen.append)
    kept = [seen[i] for i in reference["kept_steps"]]
    assert [s.number for s in kept] == reference["kept_steps"].tolist()
    assert [s.timestep for s in kept] == [grid[::-1][s.number] for s in kept]
    np.testing.assert_allclose(torch.cat([s.x_t for s in kept]), reference["samples"], rtol=0, atol=5e-4)
    np.testing.assert_allclose(torch.cat([s.x_0 for s in kept]), reference["pred_xstart"], rtol=0, atol=5e-3)
    np.testing.assert_allclose([s.x_t.double().mean() for s in seen], reference["sample_mean_per_step"], atol=1e-5)
    std = [s.x_t.double().std() for s in seen]
    np.testing.assert_allclose(std, reference["sample_std_per_step"], atol=1e-5)
    assert torch.equal(ours, seen[-1].x_t)

    unclipped = ddim_sample(denoiser, x_T, schedule, grid, clip=False)
    largest = np.abs(reference["final_noclip"]).max()
    np.testing.assert_allclose(unclipped, reference["final_noclip"], rtol=0, atol=1e-5 * largest)


@torch.no_grad()
def test_ddim_invert(denoiser, schedule, grid, uniform, numbers):
    reference = numbers("ddim_reverse_small.npz")
    x_0, seen = uniform("small/x0", 1, 3, 64, 64), []
    x_T = ddim_invert(denoiser, x_0, schedule, grid, callback=seen.append)
    kept = [seen[i] for i in reference["kept_steps"]]
    np.testing.assert_allclose(torch.cat([s.x_t for s in kept]), reference["samples"], rtol=0, atol=5e-4)
    np.testing.assert_allclose(torch.cat([s.x_0 for s in kept]), reference["pred_xstart"], rtol=0, atol=5e-3)
    std = [s.x_t.double().std() for s in seen]
    np.testing.assert_allclose(std, reference["sample_std_per_step"], atol=1e-5)
    np.testing.assert_allclose(x_T, reference["sample"], rtol=0, atol=5e-4)

    roundtrip = ddim_sample(denoiser, x_T, schedule, grid)
    np.testing.assert_allclose(roundtrip, reference["roundtrip"], rtol=0, atol=5e-3)
    assert np.abs(roundtrip.numpy() - reference["roundtrip"]).mean() < 1e-4

    unclipped = ddim_invert(denoiser, x_0, schedule, grid, clip=False)
    largest = np.abs(reference["sample_noclip"]).max()
    np.testing.assert_allclose(unclipped, reference["sample_noclip"], rtol=0, atol=1e-5 * largest)
