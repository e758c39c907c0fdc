import numpy as np
import pytest
import torch

from diffrig_emo.diffusion.state_dicts import diffusionrig_names
from diffrig_emo.losses import P2Weighting
from diffrig_emo.losses.functional import denoising_loss


def per_sample_loss(rig, schedule, weighting, x_0, physic, eps, t):
    x_t = schedule.add_noise(x_0, eps, t)
    prediction = rig.denoiser(physic, rig.encoder(x_0))(x_t, t)
    weight = None if weighting is None else weighting(schedule.snr(t), "eps")
    return denoising_loss(prediction, schedule.target(x_0, eps, t, "eps"), weight)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "weighting"),
    [("plain", None), ("p2_g1_k1", P2Weighting()), ("p2_g0.5_k2", P2Weighting(gamma=0.5, k=2.0))],
)
def test_loss(small, schedule, uniform, normal, numbers, name, weighting):
    reference = numbers("loss_small.npz")
    t = torch.from_numpy(reference["t"])
    x_0, eps = uniform("small/loss/x_start", 4, 3, 64, 64), normal("small/loss/noise", 4, 3, 64, 64)
    physic = uniform("small/loss/physic", 4, 9, 64, 64)
    np.testing.assert_allclose(schedule.add_noise(x_0, eps, t), reference["x_t"], rtol=0, atol=1e-6)
    loss = per_sample_loss(small, schedule, weighting, x_0, physic, eps, t)
    np.testing.assert_allclose(loss, reference[f"loss.{name}"], rtol=1e-5)


@pytest.mark.parametrize("stage", [1, 2])
def test_one_training_step(fresh_small, schedule, uniform, normal, numbers, stage):
    """Stage 2 freezes the encoder's weights, but as in the original its BatchNorm still sees batch statistics."""
    reference = numbers(f"train_step_stage{stage}.npz")
    rig = fresh_small
    rig.unet.train()
    rig.encoder.train()
    rig.encoder.requires_grad_(stage == 1)
    trained = [p for p in [*rig.unet.parameters(), *rig.encoder.parameters()] if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-4)
    t = torch.from_numpy(reference["t"])
    x_0, eps = uniform("train/x_start", 4, 3, 64, 64), normal("train/noise", 4, 3, 64, 64)
    loss = per_sample_loss(rig, schedule, P2Weighting(), x_0, uniform("train/physic", 4, 9, 64, 64), eps, t)
    np.testing.assert_allclose(loss.detach(), reference["loss"], rtol=1e-5)
    loss.mean().backward()

    official = {theirs: ours for ours, theirs in diffusionrig_names(rig.unet, rig.encoder).items()}
    parameters = {f"unet.{n}": p for n, p in rig.unet.named_parameters()}
    parameters |= {f"encoder.{n}": p for n, p in rig.encoder.named_parameters()}
    norms = {key.removeprefix("gradnorm/"): float(v) for key, v in reference.items() if key.startswith("gradnorm/")}
    assert len(norms) == 8
    for name, norm in norms.items():
        grad = parameters[official[name]].grad
        assert (grad is None) == np.isnan(norm), name
        if grad is not None:
            np.testing.assert_allclose(grad.double().norm(), norm, rtol=1e-3, err_msg=name)
    total = torch.nn.utils.clip_grad_norm_(trained, 1.0)
    np.testing.assert_allclose(float(total), reference["total_gradnorm"], rtol=1e-4)
    optimizer.step()

    buffers = {f"encoder.{n}": b for n, b in rig.encoder.named_buffers()}
    after = {key.removeprefix("after/"): v for key, v in reference.items() if key.startswith("after/")}
    for name, value in after.items():
        if name in norms:
            picked = parameters[official[name]].detach().flatten()[torch.from_numpy(reference[f"idx/{name}"])]
            np.testing.assert_allclose(picked, value, rtol=0, atol=2e-4, err_msg=name)
        else:
            np.testing.assert_allclose(buffers[official[name]].numpy(), value, rtol=1e-4, atol=1e-6, err_msg=name)
