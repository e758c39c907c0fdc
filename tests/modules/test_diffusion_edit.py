"""The settings of `FaceDiffusion.edit`: sampler, eta, strength, residual, blend."""

import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler
from torch import nn

from diffrig_emo.conditioning import BufferConditioner, Conditioner, GlobalCodeConditioner
from diffrig_emo.diffusion import (
    ConditionedUNet,
    CosineSchedule,
    LinearSchedule,
    TimmGlobalEncoder,
    VectorModulation,
    log_snr_timesteps,
)
from diffrig_emo.diffusion.noise import face_generators
from diffrig_emo.modules import FaceDiffusion
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.structures import Conditioning, FaceBatch, face_collate
from tests.fakes import FakeFaces, FakeHead, FakeTexture

SIZE = 16
SETTINGS = {
    "ddim": {},
    "eta": {"eta": 1.0},
    "dpm": {"sampler": "dpm"},
    "noise": {"start": "noise", "eta": 0.5},
    "sdedit": {"start": "noise", "strength": 0.5},
    "part of the way, residual": {"strength": 0.5, "residual": True, "eta": 0.7},
    "blend": {"blend": True},
}


class CodesAsPicture(Conditioner):
    """One channel: the first expression coefficient in the left part of the picture, nothing in the rest."""

    def forward(self, batch):
        exp = batch["codes"].exp[:, :1, None, None]
        return Conditioning(spatial=torch.cat([exp.expand(-1, 1, SIZE, 4), exp.new_zeros(len(exp), 1, SIZE, 12)], 3))

    def unconditional(self, batch):
        return Conditioning(spatial=torch.zeros(len(batch["image"]), 1, SIZE, SIZE))


class SmallNet(nn.Module):
    """A random network that looks at x_t, t and the spatial conditions."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x_t, t, conditioning):
        return torch.tanh(self.conv(torch.cat([x_t, conditioning.spatial], dim=1)) + t.view(-1, 1, 1, 1) / 1000)


@pytest.fixture
def rig():
    return FaceDiffusion(SmallNet(), [CodesAsPicture()], CosineSchedule(), "v", num_inference_steps=6).eval()


@pytest.fixture
def batch():
    return face_collate([FakeFaces(4)[i] for i in range(4)])


@pytest.fixture
def codes(batch):
    return batch["codes"].replace(exp=batch["codes"].exp + 2.0)


def one(batch, i):
    return FaceBatch(image=batch["image"][i : i + 1], codes=batch["codes"][i], index=batch["index"][i : i + 1])


@pytest.fixture(scope="module")
def deep():
    """A rig with all the parts of DiffusionRig, none of whose layers is zero."""
    torch.manual_seed(0)
    vectors = [VectorModulation("global", 4)]
    unet = ConditionedUNet(
        spatial_channels=9, vectors=vectors, image_size=SIZE, base_channels=8, channel_mult=(1, 2), num_res_blocks=1
    )
    for parameter in unet.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.05)
    buffers = BufferConditioner(FakeHead(), FakeTexture(), BufferRenderer(SIZE))
    look = GlobalCodeConditioner(TimmGlobalEncoder("resnet10t", 4))
    return FaceDiffusion(unet, [buffers, look], CosineSchedule(), "v", num_inference_steps=4).eval()


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_batch_size_changes_no_picture(deep, batch, settings):
    target = batch["codes"][[1, 2, 3, 0]]
    together = deep.edit(batch, codes=target, **settings)
    alone = torch.cat([deep.edit(one(batch, i), codes=target[i], **settings) for i in (0, 3)])
    off = (together[[0, 3]] - alone).abs()
    assert off.max() <= 5e-4
    assert off.mean() <= 1e-5
    assert (together - batch["image"]).abs().mean() > 1e-3


def test_one_pass_is_the_same_in_any_batch(deep, batch):
    x_t, t = torch.randn(4, 3, SIZE, SIZE), torch.tensor([0, 300, 700, 999])
    with torch.no_grad():
        together = deep(x_t, t, deep.condition(batch))
        alone = [deep(x_t[i : i + 1], t[i : i + 1], deep.condition(one(batch, i))) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_eta_1_on_every_step_is_ancestral_sampling(batch, codes):
    """Ho et al.'s chain with the posterior's variance, as diffusers has it, with each face's own noise."""
    rig = FaceDiffusion(SmallNet(), [CodesAsPicture()], LinearSchedule(25), "eps", num_inference_steps=25).eval()
    ours = rig.edit(batch, codes=codes, start="noise", eta=1.0)
    for i in (0, 3):
        (generator,) = face_generators(rig.seed, batch["index"][i : i + 1])
        wanted = rig.condition(FaceBatch(**{**one(batch, i), "codes": codes[i]}))
        theirs = DDPMScheduler(25, trained_betas=rig.schedule.betas.numpy(), variance_type="fixed_small")
        theirs.set_timesteps(25)
        x_t = torch.randn(1, 3, SIZE, SIZE, generator=generator)
        with torch.no_grad():
            for t in theirs.timesteps:
                x_t = theirs.step(rig(x_t, t[None], wanted), t, x_t, generator=generator).prev_sample
        torch.testing.assert_close(ours[i], ((x_t[0] + 1) / 2).clamp(0, 1), atol=1e-4, rtol=0)


def test_eta_draws_other_noise_for_each_face_and_seed_and_the_same_again(rig, batch, codes):
    same = FaceBatch(**{**batch, "image": batch["image"][:1].expand(4, -1, -1, -1), "codes": codes[[0, 0, 0, 0]]})
    edit = rig.edit(same, eta=1.0)
    assert torch.equal(edit, rig.edit(same, eta=1.0))
    assert (edit[0] - edit[1]).abs().mean() > 1e-2
    rig.seed = 1
    assert (edit - rig.edit(same, eta=1.0)).abs().mean() > 1e-2
    plain = rig.edit(same)
    torch.testing.assert_close(plain[0], plain[1])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' way with NumPy
def test_dpm_paints_what_diffusers_does_from_latents_that_ddim_found(batch, codes):
    """Two grids: inversion climbs the rig's own, the solver comes down its own from the same last step."""
    rig = FaceDiffusion(SmallNet(), [CodesAsPicture()], LinearSchedule(), "v", num_inference_steps=6).eval()
    latent = rig.invert(batch["image"], rig.condition(batch))
    wanted = rig.condition(FaceBatch(**{**batch, "codes": codes}))
    theirs = DPMSolverMultistepScheduler(
        prediction_type="v_prediction",
        final_sigmas_type="zero",
        thresholding=True,
        dynamic_thresholding_ratio=1.0,
        sample_max_value=1.0,  # with these three, x_0 is clamped to [-1, 1]
        beta_start=1e-4,
        beta_end=0.02,
        lower_order_final=False,
    )
    grid = log_snr_timesteps(6, rig.schedule)
    assert grid[-1] == rig.timesteps[-1]
    assert grid != rig.timesteps
    theirs.set_timesteps(timesteps=grid[::-1])
    x_t = latent
    with torch.no_grad():
        for t in theirs.timesteps:
            x_t = theirs.step(rig(x_t, t.expand(4), wanted), t, x_t).prev_sample
    ours = rig.edit(batch, codes=codes, sampler="dpm", release=0.0)
    torch.testing.assert_close(ours, ((x_t + 1) / 2).clamp(0, 1), atol=1e-3, rtol=0)
    assert torch.equal(ours, rig.edit(batch, codes=codes, sampler="dpm", release=0.0, latent=latent))
    guided = rig.edit(batch, codes=codes, sampler="dpm", release=0.0, latent=latent, guidance_scale=2.0)
    assert (guided - ours).abs().mean() > 1e-3


@pytest.mark.parametrize("start", ["inverted", "noise"])
@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_less_strength_leaves_more_of_the_source(rig, batch, codes, start, sampler):
    def moved(strength):
        edit = rig.edit(batch, codes=codes, start=start, sampler=sampler, strength=strength)
        return float((edit - batch["image"]).abs().mean())

    tiny, half, whole = moved(1e-4), moved(0.4), moved(1.0)
    assert tiny < 0.02
    assert tiny < half < whole


def test_sdedit_is_the_noised_source_denoised(rig, batch, codes):
    """A denoiser that sees no condition and knows every picture's noise gives the sources back."""
    (step,) = {round(0.5 * 999)}
    a = float(rig.schedule.alphas_cumprod[step])
    eps = torch.stack([torch.randn(3, SIZE, SIZE, generator=g) for g in face_generators(rig.seed, batch["index"])])
    x_0 = 2 * batch["image"] - 1
    seen = []

    def knowing(x_t, t, conditioning):
        seen.append((int(t[0]), x_t))
        level = float(rig.schedule.alphas_cumprod[t[0]])
        return level**0.5 * eps - (1 - level) ** 0.5 * x_0

    rig.denoiser.forward = knowing
    torch.testing.assert_close(
        rig.edit(batch, codes=codes, start="noise", strength=0.5), batch["image"], atol=1e-5, rtol=0
    )
    assert seen[0][0] == step
    torch.testing.assert_close(seen[0][1], a**0.5 * x_0 + (1 - a) ** 0.5 * eps)


def test_a_shared_latent_is_that_of_the_same_strength(rig, batch, codes):
    for strength in (0.3, 1.0):
        latent = rig.invert(batch["image"], rig.condition(batch), strength)
        apart = rig.edit(batch, codes=codes, strength=strength)
        assert torch.equal(rig.edit(batch, codes=codes, strength=strength, latent=latent), apart)


@pytest.mark.parametrize(
    "settings", [{}, {"sampler": "dpm"}, {"eta": 1.0}, {"strength": 0.5}, {"guidance_scale": 2.0}, {"blend": True}]
)
def test_the_residual_of_no_edit_is_the_source(rig, batch, settings):
    assert (rig.edit(batch, **{**settings, "blend": False}) - batch["image"]).abs().mean() > 1e-2
    torch.testing.assert_close(rig.edit(batch, residual=True, **settings), batch["image"], atol=2e-7, rtol=0)


def test_the_residual_adds_what_an_edit_changes(rig, batch, codes):
    latent = rig.invert(batch["image"], rig.condition(batch))
    edit, kept = (rig.edit(batch, codes=c, latent=latent, release=0.0) for c in (codes, None))
    wanted = (batch["image"] + edit - kept).clamp(0, 1)
    torch.testing.assert_close(rig.edit(batch, codes=codes, release=0.0, residual=True), wanted)
    assert (wanted - batch["image"]).abs().max() > 1e-2


@pytest.mark.parametrize("settings", [{}, {"start": "noise"}, {"residual": True}])
def test_blending_keeps_the_source_away_from_what_changes(rig, batch, codes, settings):
    plain, blend = (rig.edit(batch, codes=codes, blend=b, **settings) for b in (False, True))
    assert torch.equal(blend[..., 6:], batch["image"][..., 6:])  # four columns change, two more fade
    assert torch.equal(blend[..., :4], plain[..., :4])
    assert (plain[..., 6:] - batch["image"][..., 6:]).abs().max() > 1e-3
    between = (blend[..., 4:6] - batch["image"][..., 4:6]).abs().mean()
    assert 0 < between < (plain[..., 4:6] - batch["image"][..., 4:6]).abs().mean()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampler": "euler"}, "sampler: expected ddim or dpm, got 'euler'"),
        ({"sampler": "dpm", "eta": 0.5}, r'eta: .* expected 0 with sampler="dpm", got 0.5'),
        ({"eta": 1.5}, "eta: expected a number from 0 to 1, got 1.5"),
        ({"strength": 0.0}, r"strength must be above 0 .* got 0.0"),
        ({"strength": 1.1}, r"strength must be above 0 .* got 1.1"),
        ({"start": "nois"}, "start: expected inverted or noise, got 'nois'"),
        ({"start": "noise", "residual": True}, 'residual: .* use start="inverted"'),
    ],
)
def test_bad_settings_are_named_before_the_network_runs(rig, batch, settings, message):
    rig.denoiser = None
    with pytest.raises(ValueError, match=message):
        rig.edit(batch, **settings)


def test_what_settings_lack_is_named(rig, batch):
    unnumbered = FaceBatch(image=batch["image"], codes=batch["codes"])
    rig.edit(unnumbered)
    for settings in ({"eta": 0.1}, {"start": "noise"}):
        with pytest.raises(ValueError, match="index: expected the faces' numbers"):
            rig.edit(unnumbered, **settings)

    class Label(Conditioner):
        def forward(self, batch):
            return Conditioning(vectors={"global": torch.zeros(len(batch["image"]), 4)})

    rig.conditioners = nn.ModuleList([Label()])
    with pytest.raises(ValueError, match="blend: expected a conditioner with spatial conditions"):
        rig.edit(batch, blend=True)
