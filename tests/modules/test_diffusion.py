import lightning as L
import pytest
import torch

from diffrig_emo.conditioning import BufferConditioner, Conditioner, GlobalCodeConditioner
from diffrig_emo.diffusion import (
    ConditionedUNet,
    CosineSchedule,
    TimmGlobalEncoder,
    VectorModulation,
    log_snr_timesteps,
)
from diffrig_emo.diffusion.noise import face_noise
from diffrig_emo.losses import MinSNRWeighting, SceneContrast
from diffrig_emo.modules import FaceDiffusion
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.structures import Conditioning, FaceBatch, StructError, face_collate
from tests.fakes import FakeFaces, FakeFacesDataModule, FakeHead, FakeTexture


def parts():
    torch.manual_seed(0)
    denoiser = ConditionedUNet(
        image_size=16,
        base_channels=8,
        channel_mult=(1, 2),
        num_res_blocks=1,
        spatial_channels=9,
        vectors=[VectorModulation("global", 4)],
    )
    # Zero-initialised layers would hide every condition.
    for parameter in denoiser.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return {
        "denoiser": denoiser,
        "conditioners": [
            BufferConditioner(FakeHead(), FakeTexture(), BufferRenderer(16)),
            GlobalCodeConditioner(TimmGlobalEncoder("resnet10t", 4)),
        ],
        "schedule": CosineSchedule(),
    }


@pytest.fixture
def rig():
    return FaceDiffusion(**parts(), prediction_type="v", num_inference_steps=4)


@pytest.fixture
def batch():
    return face_collate([FakeFaces(4)[i] for i in range(4)])


def trainer(tmp_path, **settings):
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        **settings,
    )


def test_fit_test_predict(rig, tmp_path):
    data = FakeFacesDataModule()
    run = trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    before = [p.detach().clone() for p in rig.parameters()]
    run.fit(rig, data)
    assert {"train/loss", "val/loss"} <= run.callback_metrics.keys()
    assert any(not torch.equal(a, b) for a, b in zip(before, rig.parameters(), strict=True))
    assert run.test(rig, data, verbose=False)[0]["test/loss"] > 0
    pictures = torch.cat(run.predict(rig, data))
    assert pictures.shape == (8, 3, 16, 16)
    assert 0 <= pictures.min() <= pictures.max() <= 1


def test_hand_built_checkpoint_is_lean_and_reloads_with_its_parts(rig, tmp_path):
    run = trainer(tmp_path, max_steps=1)
    run.fit(rig, FakeFacesDataModule())
    path = run.checkpoint_callback.best_model_path
    stored = torch.load(path, weights_only=True)
    assert "denoiser" not in stored["hyper_parameters"]
    assert stored["hyper_parameters"]["prediction_type"] == "v"
    loaded = FaceDiffusion.load_from_checkpoint(path, weights_only=True, **parts())
    assert (loaded.prediction_type, loaded.hparams["num_inference_steps"]) == ("v", 4)
    for name, tensor in rig.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name


def test_the_loss_is_that_of_the_written_out_formula(rig, batch):
    t = torch.tensor([0, 300, 700, 999])
    eps = torch.randn(4, 3, 16, 16)
    rig.eval()
    alpha_bar = rig.schedule.alphas_cumprod.double()[t].view(-1, 1, 1, 1)
    x_0 = batch["image"].double() * 2 - 1
    x_t = alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * eps
    v = alpha_bar.sqrt() * eps - (1 - alpha_bar).sqrt() * x_0
    with torch.no_grad():
        prediction = rig.denoiser(x_t.float(), t, rig.condition(batch)).double()
        expected = (prediction - v).square().mean((1, 2, 3))
        torch.testing.assert_close(rig.denoising_loss(batch, t, eps).double(), expected, atol=1e-5, rtol=1e-4)
        weighted = FaceDiffusion(**parts(), prediction_type="v", weighting=MinSNRWeighting(gamma=5.0)).eval()
        snr = (alpha_bar / (1 - alpha_bar)).flatten()
        torch.testing.assert_close(
            weighted.denoising_loss(batch, t, eps).double(),
            expected * snr.clamp(max=5) / (snr + 1),
            atol=1e-5,
            rtol=1e-4,
        )


def test_conditions_matter(rig, batch):
    x_t, t = torch.randn(4, 3, 16, 16), torch.full((4,), 500)
    rig.eval()
    with torch.no_grad():
        own = rig(x_t, t, rig.condition(batch))
        other_codes = rig(x_t, t, rig.condition(FaceBatch(**{**batch, "codes": batch["codes"][[1, 2, 3, 0]]})))
        other_photo = rig(x_t, t, rig.condition(FaceBatch(**{**batch, "image": batch["image"].flip(0)})))
    assert (own - other_codes).abs().max() > 1e-3
    assert (own - other_photo).abs().max() > 1e-4


def test_an_edit_to_its_own_codes_reconstructs_better_than_noise(rig, batch):
    rig.eval()
    kept = rig.edit(batch)
    anew = rig.edit(batch, start="noise")
    assert (kept - batch["image"]).abs().mean() < (anew - batch["image"]).abs().mean()


def test_batch_size_changes_no_picture(rig, batch):
    rig.eval()
    together = rig.edit(batch, codes=batch["codes"][[1, 2, 3, 0]], start="noise")
    alone = [
        rig.edit(
            FaceBatch(image=batch["image"][i : i + 1], codes=batch["codes"][i], index=batch["index"][i : i + 1]),
            codes=batch["codes"][(i + 1) % 4],
            start="noise",
        )
        for i in range(4)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


class CodesAsPicture(Conditioner):
    """Conditions with one channel, everywhere the first expression coefficient."""

    def forward(self, batch: FaceBatch) -> Conditioning:
        return Conditioning(spatial=batch["codes"].exp[:, :1, None, None].expand(-1, 1, 16, 16))


def test_the_latent_lets_go_where_the_conditions_change(batch):
    rig = FaceDiffusion(
        ConditionedUNet(spatial_channels=1, image_size=16, base_channels=16, channel_mult=(1, 2)),
        [CodesAsPicture()],
        CosineSchedule(),
        prediction_type="v",
        num_inference_steps=4,
    ).eval()
    for parameter in rig.denoiser.head_conv.parameters():
        torch.nn.init.normal_(parameter, std=0.02)  # an untrained UNet would predict zero
    exp = torch.zeros_like(batch["codes"].exp)
    source = FaceBatch(**{**batch, "codes": batch["codes"].replace(exp=exp)})
    near, far = (source["codes"].replace(exp=exp + amount) for amount in (0.5, 7.0))
    latent = rig.invert(source["image"], rig.condition(source))

    def painted(codes, scale):
        return rig.sample(rig.condition(FaceBatch(**{**source, "codes": codes})), scale * latent)

    for codes, release, scale in [(near, 0.0, 1.0), (near, 0.5, 0.75), (far, 0.5, 0.5), (far, 1.0, 0.0)]:
        torch.testing.assert_close(rig.edit(source, codes=codes, release=release), painted(codes, scale))
    torch.testing.assert_close(rig.edit(source, release=1.0), painted(source["codes"], 1.0))
    with pytest.raises(ValueError, match="release"):
        rig.edit(source, release=1.5)


def test_temperature_scales_the_noise(rig, batch):
    rig.eval()
    noise = torch.cat([face_noise(rig.seed, batch["index"][i : i + 1], (3, 16, 16)) for i in range(4)])
    cool = rig.edit(batch, start="noise", temperature=0.5)
    torch.testing.assert_close(cool, rig.sample(rig.condition(batch), 0.5 * noise), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="temperature"):
        rig.edit(batch, start="noise", temperature=-1.0)


def test_training_timesteps_cover_the_schedule(rig, batch, monkeypatch):
    drawn = []
    monkeypatch.setattr(rig, "log", lambda *args, **kwargs: None)
    monkeypatch.setattr(rig, "denoising_loss", lambda batch, t, eps: drawn.append(t) or eps.mean((1, 2, 3)))
    for _ in range(200):
        rig.training_step(batch, 0)
    steps = torch.stack(drawn)
    assert steps.min() >= 0
    assert steps.max() < rig.schedule.num_steps
    quarters = (steps * 4 // rig.schedule.num_steps).sort(dim=1).values
    assert (quarters == torch.arange(4)).float().mean() > 0.99  # one face in each quarter, but for rounding
    assert abs(steps[:, 0].float().mean() / rig.schedule.num_steps - 0.5) < 0.1


def test_photographs_of_a_scene_share_noise_and_timestep(batch, monkeypatch):
    rig = FaceDiffusion(**parts(), prediction_type="v", contrast=SceneContrast(faces_per_scene=2, weight=4.0))
    seen = []
    monkeypatch.setattr(FaceDiffusion, "log", lambda *args, **kwargs: None)
    # Validation is plain: its faces are no scenes.
    plain = FaceDiffusion(**parts(), prediction_type="v")
    torch.testing.assert_close(rig.eval().validation_step(batch, 0), plain.eval().validation_step(batch, 0))
    rig.train().denoiser.register_forward_hook(lambda module, inputs, output: seen.append((*inputs[:2], output)))
    loss = rig.training_step(batch, 0)
    (x_t, t, prediction) = seen[0]
    assert t[0] == t[1] != t[2] == t[3]
    x_0 = rig.encode(batch["image"])
    a = rig.schedule.alphas_cumprod[t].view(-1, 1, 1, 1).to(x_0)
    eps = (x_t - a.sqrt() * x_0) / (1 - a).sqrt()
    torch.testing.assert_close(eps[0::2], eps[1::2], atol=1e-4, rtol=1e-4)
    error = (prediction - rig.schedule.target(x_0, eps, t, "v")).view(2, 2, 3, 16, 16)
    mean = error.mean(dim=1, keepdim=True)
    torch.testing.assert_close(loss, (mean.square() + 4 * (error - mean).square()).mean(), atol=1e-4, rtol=1e-4)


def test_bad_target_codes_are_named(rig, batch):
    codes = batch["codes"]
    with pytest.raises(StructError, match=r"FaceCodes\.exp"):
        rig.edit(batch, codes=codes.replace(exp=codes.exp * torch.nan))
    with pytest.raises(StructError, match="space"):
        rig.edit(batch, codes=codes.replace(space="flame2020"))


class Labelled(Conditioner):
    """A vector of the emotion wanted, else of the face's own; nothing of it when unconditional."""

    def forward(self, batch):
        label = batch.get("target_label", batch["label"])
        return Conditioning(vectors={"global": torch.nn.functional.one_hot(label, 4).float()})

    def unconditional(self, batch):
        return Conditioning(vectors={"global": torch.zeros(len(batch["image"]), 4)})


@pytest.fixture
def labelled(batch):
    made = parts()
    denoiser = ConditionedUNet(
        image_size=16, base_channels=8, channel_mult=(1, 2), num_res_blocks=1, vectors=[VectorModulation("global", 4)]
    )
    for parameter in denoiser.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    rig = FaceDiffusion(denoiser, [Labelled()], made["schedule"], prediction_type="v", num_inference_steps=4).eval()
    del batch["codes"]
    return rig, FaceBatch(**batch, label=torch.tensor([0, 1, 2, 3]))


def test_a_photo_is_inverted_with_its_own_expression_not_the_wanted_one(labelled):
    rig, batch = labelled
    wanted = FaceBatch(**batch, target_label=torch.tensor([3, 2, 1, 0]))
    edited = rig.edit(wanted)
    latent = rig.invert(batch["image"], rig.condition(batch))
    torch.testing.assert_close(edited, rig.sample(rig.condition(wanted), latent))
    assert (edited - rig.edit(batch)).abs().max() > 1e-3


def test_guidance_exaggerates_what_was_asked_for(labelled):
    rig, batch = labelled
    wanted = FaceBatch(**batch, target_label=torch.tensor([3, 2, 1, 0]))
    latent = torch.randn(4, 3, 16, 16)
    plain, none, more = (rig.edit(wanted, latent=latent, guidance_scale=scale) for scale in (1.0, 0.0, 2.0))
    nothing = Conditioning(vectors={"global": torch.zeros(4, 4)})
    torch.testing.assert_close(none, rig.sample(nothing, latent))
    assert (more - none).abs().mean() > 1.2 * (plain - none).abs().mean()


def test_steps_are_spread_by_the_models_spacing():
    rig = FaceDiffusion(**parts(), num_inference_steps=4, spacing=log_snr_timesteps)
    assert rig.timesteps == log_snr_timesteps(4, rig.schedule)
    rig.set_steps(7)
    assert rig.timesteps == log_snr_timesteps(7, rig.schedule)
