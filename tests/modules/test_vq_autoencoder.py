import copy
from functools import partial

import lightning as L
import pytest
import torch

from diffrig_emo.diffusion import PatchDiscriminator, VQNetwork
from diffrig_emo.modules import VQAutoencoder
from diffrig_emo.structures import face_collate
from diffrig_emo.transforms.ranges import to_signed
from tests.fakes import FakeFaces, FakeFacesDataModule


class Distance(torch.nn.Module):
    """A stand-in for LPIPS."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, a, b):
        return self.scale * (a - b).abs().mean(dim=(1, 2, 3))


def module(**settings):
    torch.manual_seed(0)
    network = VQNetwork(channels=(8, 16), num_res_blocks=1, num_codes=32)
    optimizer = settings.pop("optimizer", partial(torch.optim.Adam, lr=2e-3))
    return VQAutoencoder(network, PatchDiscriminator(channels=4, num_layers=1), optimizer=optimizer, **settings)


def trainer(tmp_path, **settings):
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
        **settings,
    )


def test_fit_validate_predict(tmp_path):
    model = module(perceptual=Distance(), adversarial_start=1)
    data = FakeFacesDataModule(num_faces=8, batch_size=4)
    fit = trainer(tmp_path, max_steps=3)
    fit.fit(model, data)
    assert fit.global_step == 3, "a step is a batch, although there are two losses"
    assert {"train/loss", "train/l1", "train/codebook", "train/critic", "val/psnr", "val/codes"} <= set(
        fit.logged_metrics
    )
    (pictures, _) = fit.predict(model, data)
    assert pictures.shape == (4, 3, 16, 16)
    assert 0 <= pictures.min() <= pictures.max() <= 1


def test_reconstructions_get_better(tmp_path):
    model = module(adversarial_start=10_000, revive_every=20)
    data = FakeFacesDataModule(num_faces=4, batch_size=4)
    image = next(iter(data.train_dataloader()))["image"]
    before = (model(image) - image).abs().mean()
    trainer(tmp_path, max_steps=25, limit_val_batches=0, num_sanity_val_steps=0).fit(model, data)
    assert (model.eval()(image) - image).abs().mean() < 0.9 * before


def test_the_critic_joins_late_and_learns_from_its_own_loss(tmp_path):
    model = module(adversarial_start=2)
    start = copy.deepcopy(model.discriminator.state_dict())
    seen = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            weights = pl_module.discriminator.state_dict()
            seen.append(all(torch.equal(weights[n], start[n]) for n in start if "weight" in n))

    data = FakeFacesDataModule(num_faces=16, batch_size=4)
    fit = trainer(tmp_path, max_steps=3, callbacks=[Watch()], limit_val_batches=0, enable_checkpointing=False)
    fit.fit(model, data)
    assert seen == [True, True, False]
    assert all(p.requires_grad for p in model.discriminator.parameters())


def test_the_autoencoders_gradient_is_that_of_the_papers_loss(monkeypatch):
    """With a sum of all terms as one scalar, the network's gradients are those of the manual step."""
    model = module(adversarial_start=0, optimizer=partial(torch.optim.SGD, lr=0.0))
    batch = face_collate([FakeFaces(4)[i] for i in range(4)])
    reference = copy.deepcopy(model)
    fit = L.Trainer(
        accelerator="cpu", logger=False, max_steps=1, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    fit.fit(model, torch.utils.data.DataLoader([batch], batch_size=None))
    network, critic = reference.network, reference.discriminator
    x = to_signed(batch["image"])
    quantised = network.quantise(network.encode(x))
    y = network.paint(quantised.z)
    kept, opinion = (x - y).abs().mean(), -critic(y).mean()
    last = network.model.decoder.conv_out.weight
    norms = [torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (kept, opinion)]
    loss = kept + quantised.loss + 0.75 * (norms[0] / (norms[1] + 1e-4)).detach() * opinion
    loss.backward()
    for (name, mine), theirs in zip(model.network.named_parameters(), network.parameters(), strict=True):
        assert (mine.grad is None) == (theirs.grad is None), name
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def test_the_perceptual_network_stays_as_it_is(tmp_path):
    model = module(perceptual=Distance())
    assert not model.perceptual.training
    trainer(tmp_path, max_steps=2, limit_val_batches=0).fit(model, FakeFacesDataModule(num_faces=8))
    assert model.perceptual.scale.item() == 1


def test_unused_codes_are_replaced(tmp_path):
    model = module(revive_every=1)
    data = FakeFacesDataModule(num_faces=8, batch_size=4)
    before = model.network.codebook.detach().clone()
    trainer(tmp_path, max_steps=1, limit_val_batches=0, num_sanity_val_steps=0).fit(model, data)
    moved = (model.network.codebook.detach() - before).abs().amax(dim=1)
    assert (moved > 0.05).all(), "an optimizer step alone moves an entry by 0.002"


@pytest.mark.parametrize("settings", [{"adversarial_weight": -1.0}, {"perceptual_weight": -1.0}, {"revive_every": 0}])
def test_bad_numbers_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        module(**settings)
