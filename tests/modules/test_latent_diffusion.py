from functools import partial

import lightning as L
import pytest
import torch

from diffrig_emo.conditioning import EmotionLabelConditioner
from diffrig_emo.diffusion import CrossAttentionUNet, ScaledLinearSchedule, VQNetwork
from diffrig_emo.modules import EmotionEditor, FaceDiffusion, VQAutoencoder
from diffrig_emo.structures import FaceBatch
from tests.fakes import FakeFaces

SCHEDULE = {"beta_start": 0.0015, "beta_end": 0.0205}


class Labelled(FakeFaces):
    """Random pictures with labels in turn."""

    def __getitem__(self, index):
        item = super().__getitem__(index)
        return {"image": item["image"], "index": item["index"], "label": torch.tensor(index % 8)}


def network():
    return VQNetwork(channels=(8, 16), num_res_blocks=1, attention=False, num_codes=32, code_dim=4)


def denoiser(channels=4):
    return CrossAttentionUNet(8, channels, channels=(8, 16), num_heads=(1, 2), num_res_blocks=1, token_dim=8)


def latent_model(**settings):
    torch.manual_seed(0)
    label = EmotionLabelConditioner(8, form="token", dropout=settings.pop("dropout", 0.2))
    optimizer = partial(torch.optim.AdamW, lr=1e-3)
    settings = {"autoencoder": network(), "num_inference_steps": 4, "optimizer": optimizer, **settings}
    return FaceDiffusion(denoiser(), [label], ScaledLinearSchedule(**SCHEDULE), **settings)


def batch(n=4):
    faces = Labelled(n)
    image = torch.stack([faces[i]["image"] for i in range(n)])
    return FaceBatch(image=image, label=torch.arange(n) % 8, index=torch.arange(n))


def fit(model, tmp_path, steps=2, dataset=None, **settings):
    loader = torch.utils.data.DataLoader(dataset or Labelled(8), batch_size=4)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, max_steps=steps, **settings,
    )  # fmt: skip
    trainer.fit(model, loader)
    return trainer


def test_it_trains_on_latents_and_leaves_the_autoencoder_alone(tmp_path):
    model = latent_model()
    before = {name: tensor.clone() for name, tensor in model.autoencoder.state_dict().items()}
    trainer = fit(model, tmp_path)
    assert not model.autoencoder.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.autoencoder.state_dict().items())
    checkpoint = torch.load(trainer.checkpoint_callback.best_model_path, weights_only=True)
    assert any(name.startswith("autoencoder.") for name in checkpoint["state_dict"]), "it is needed and ours"
    optimised = sum(len(group["params"]) for group in checkpoint["optimizer_states"][0]["param_groups"])
    assert optimised == sum(p.requires_grad for p in model.parameters())
    again = latent_model()
    again.load_state_dict(checkpoint["state_dict"])


def test_the_loss_is_the_plain_one_of_the_latents():
    model = latent_model().eval()
    faces, t = batch(), torch.tensor([0, 100, 500, 999])
    z = model.autoencoder.encode(2 * faces["image"] - 1)
    eps = torch.randn_like(z)
    a = torch.cumprod(1 - torch.linspace(0.0015**0.5, 0.0205**0.5, 1000, dtype=torch.float64) ** 2, 0)[t]
    x_t = (a.sqrt().view(-1, 1, 1, 1) * z + (1 - a).sqrt().view(-1, 1, 1, 1) * eps).float()
    tokens = model.conditioners[0].embedding(faces["label"])[:, None]
    expected = (model.denoiser.model(x_t, t, tokens).sample - eps).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(model.denoising_loss(faces, t, eps), expected, rtol=1e-4, atol=1e-5)


def test_latents_are_scaled_to_a_spread_of_one():
    model = latent_model(latent_scale=None)
    faces = batch()
    spread = model.autoencoder.codebook.std(correction=0)
    plain = model.autoencoder.encode(2 * faces["image"] - 1)
    torch.testing.assert_close(model.encode(faces["image"]), plain / spread)
    expected = model.autoencoder.decode(plain)
    torch.testing.assert_close(model.decode(model.encode(faces["image"])), (expected / 2 + 0.5).clamp(0, 1))
    with pytest.raises(ValueError, match="latent_scale"):
        latent_model(latent_scale=0.0)


def test_with_every_label_dropped_the_output_depends_on_none():
    model = latent_model(dropout=1.0).train()
    faces, other = batch(), batch()
    other["label"] = faces["label"].roll(1)
    z, t = torch.randn(4, 4, 8, 8), torch.full((4,), 300)
    assert torch.equal(model(z, t, model.condition(faces)), model(z, t, model.condition(other)))
    model.eval()
    assert not torch.equal(model(z, t, model.condition(faces)), model(z, t, model.condition(other)))


def test_the_null_embedding_learns():
    model = latent_model(dropout=1.0).train()
    model.denoising_loss(batch(), torch.full((4,), 500), torch.randn(4, 4, 8, 8)).mean().backward()
    assert model.conditioners[0].null.grad.abs().sum() > 0


def test_weights_of_the_first_stage_are_taken_over(tmp_path):
    torch.manual_seed(1)
    first = VQAutoencoder(network())
    path = tmp_path / "vq.ckpt"
    torch.save({"state_dict": first.state_dict()}, path)
    model = latent_model(autoencoder_weights=str(path))
    torch.testing.assert_close(model.autoencoder.codebook, first.network.codebook)
    with pytest.raises(FileNotFoundError, match="autoencoder_weights"):
        latent_model(autoencoder_weights=str(tmp_path / "none.ckpt"))
    with pytest.raises(ValueError, match="there is no autoencoder"):
        latent_model(autoencoder=None, autoencoder_weights=str(path))
    other = VQNetwork(channels=(8, 16), num_res_blocks=1, attention=False, num_codes=16, code_dim=4)
    with pytest.raises(ValueError, match="another network"):
        latent_model(autoencoder=other, autoencoder_weights=str(path))


def test_a_later_stage_takes_the_autoencoder_along(tmp_path):
    trainer = fit(latent_model(latent_scale=None), tmp_path)
    path = trainer.checkpoint_callback.best_model_path
    torch.manual_seed(5)
    later = latent_model(latent_scale=None, initial_weights=path)
    saved = torch.load(path, weights_only=True)["state_dict"]
    assert torch.equal(later.autoencoder.codebook, saved["autoencoder.model.quantize.embedding.weight"])
    with pytest.raises(ValueError, match=r"latent_scale: checkpoint has None, this model 1\.0"):
        latent_model(initial_weights=path)


def test_sampling_ends_at_pictures_of_the_size():
    model = latent_model()
    faces = batch()
    own = model.eval().condition(faces)
    latent = model.invert(faces["image"], own)
    assert latent.shape == (4, 4, 8, 8)
    assert model.sample(own, latent).shape == (4, 3, 16, 16)
    assert model.edit(FaceBatch(**{**faces, "target_label": faces["label"].roll(1)}), start="noise").shape == (
        4,
        3,
        16,
        16,
    )


class Reads(torch.nn.Module):
    """A recogniser that always says the same."""

    def __init__(self, label):
        super().__init__()
        self.label = label

    def forward(self, image):
        return type("Seen", (), {"label": torch.full((len(image),), self.label)})


def test_an_edit_is_the_published_algorithm():
    """Against a transcription of the formulas, in float64 and with guidance in both directions."""
    model = latent_model().eval().double()
    faces = batch()
    faces["image"] = faces["image"].double()
    target, w, steps = torch.tensor([1, 2, 3, 4]), 4.0, [1, 166, 333, 500]
    edit = EmotionEditor(model, num_inference_steps=4, guidance_scale=w).edit(faces, target)
    a = torch.cumprod(1 - torch.linspace(0.0015**0.5, 0.0205**0.5, 1000, dtype=torch.float64) ** 2, 0)
    table, null = model.conditioners[0].embedding.weight, model.conditioners[0].null

    @torch.no_grad()
    def eps(z, t, label):
        t = torch.full((4,), t)
        plain = model.denoiser.model(z, t, null.expand(4, 1, -1)).sample
        return plain + w * (model.denoiser.model(z, t, table[label][:, None]).sample - plain)

    with torch.no_grad():
        z = model.autoencoder.encode(2 * faces["image"] - 1)
    before = [a[0], *(a[t] for t in steps[:-1])]
    for i, t in enumerate(steps):
        e = eps(z, t, faces["label"])
        clean = (z - (1 - before[i]).sqrt() * e) / before[i].sqrt()
        z = a[t].sqrt() * clean + (1 - a[t]).sqrt() * e
    for i, t in reversed(list(enumerate(steps))):
        e = eps(z, t, target)
        clean = (z - (1 - a[t]).sqrt() * e) / a[t].sqrt()
        z = before[i].sqrt() * clean + (1 - before[i]).sqrt() * e
    with torch.no_grad():
        expected = (model.autoencoder.decode(z) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(edit, expected, rtol=1e-4, atol=1e-5)


def test_unknown_labels_are_read_off_or_refused():
    model = latent_model()
    faces = batch()
    faces["label"] = torch.tensor([-1, 5, -1, 2])
    assert EmotionEditor(model, Reads(6)).source_label(faces).tolist() == [6, 5, 6, 2]
    del faces["label"]
    assert EmotionEditor(model, Reads(3)).source_label(faces).tolist() == [3] * 4
    with pytest.raises(ValueError, match="4 of 4 faces have no emotion label"):
        EmotionEditor(model).edit(faces, torch.ones(4, dtype=torch.long))


def test_predict_edits_to_the_batch_s_target():
    editor = EmotionEditor(latent_model(), num_inference_steps=2)
    faces = batch()
    target = torch.tensor([1, -1, 3, -1])
    pictures = editor.predict_step(FaceBatch(**{**faces, "target_label": target}))
    whole = editor.edit(faces, torch.where(target < 0, faces["label"], target))
    torch.testing.assert_close(pictures, whole)
    torch.testing.assert_close(editor.predict_step(faces), editor.reconstruct(faces))
    assert not editor.train().rig.training, "no label may be dropped"


def test_reconstructions_get_better_with_more_steps(tmp_path):
    """In latent space: the codebook would hide it."""
    model = latent_model(dropout=0.0, latent_scale=None)
    fit(model, tmp_path, steps=40, enable_checkpointing=False)
    model.eval()
    faces = batch()
    errors = []
    for steps in (4, 16, 64):
        editor = EmotionEditor(model, num_inference_steps=steps, guidance_scale=1.0)
        seen = {}
        model.decode = lambda z, seen=seen: seen.setdefault("z", z)
        editor.reconstruct(faces)
        errors.append((seen["z"] - model.encode(faces["image"])).square().mean().item())
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("settings", [{"guidance_scale": -1.0}, {"strength": 0.0}, {"num_inference_steps": 1}])
def test_bad_settings_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        EmotionEditor(latent_model(), **settings)
    with pytest.raises(ValueError, match="emotions 0 to 7"):
        EmotionEditor(latent_model()).edit(batch(), torch.full((4,), 9))
