"""The latent prior and the classifier of semantic codes learn what there is to learn, and refuse the rest."""

from functools import partial

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from diffrig_emo.datamodules import EncodedFaces
from diffrig_emo.diffusion import ConstantSchedule, LatentMLP
from diffrig_emo.modules import LatentPrior, SemanticClassifier
from diffrig_emo.structures import face_collate
from tests.fakes import FakeFaces


def loader(faces, batch_size):
    return DataLoader(faces, batch_size, collate_fn=face_collate)


def trainer(tmp_path, **settings):
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        **settings,
    )


def codes(n=256, dim=4):
    """Two clusters: the first two components agree in sign; all is shifted and stretched."""
    generator = torch.Generator().manual_seed(0)
    sign = (torch.arange(n) % 2) * 2.0 - 1
    z = 0.3 * torch.randn(n, dim, generator=generator)
    z[:, :2] += sign[:, None]
    return 5 + 2 * z, (torch.arange(n) % 2).numpy()


def prior(**settings):
    network = LatentMLP(dim=4, hidden_dim=64, num_layers=3)
    return LatentPrior(network, ConstantSchedule(), num_inference_steps=50, **settings)


def test_the_prior_draws_codes_like_those_it_learned(tmp_path):
    z, labels = codes()
    model = prior(optimizer=partial(torch.optim.Adam, lr=3e-3))
    data = loader(EncodedFaces(z, labels), 64)
    run = trainer(tmp_path, max_steps=300)
    run.fit(model, data, loader(EncodedFaces(z, labels), 64))
    torch.testing.assert_close(model.normalization.mean, z.mean(dim=0), atol=1e-4, rtol=1e-4)
    drawn = model.sample(torch.randn(256, 4, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(drawn.mean(dim=0), z.mean(dim=0), atol=0.6, rtol=0)
    centred = drawn[:, :2] - 5
    assert (centred[:, 0] * centred[:, 1] > 0).float().mean() > 0.9  # of independent components: half
    assert (centred.abs() > 0.7).float().mean() > 0.8  # two clusters, not one blob between them
    assert run.callback_metrics["val/loss"] < 0.8  # sqrt(2 / pi) knows nothing
    predicted = torch.cat(run.predict(model, loader(EncodedFaces(z[:4], labels[:4]), 2)))
    together = model.predict_step({"index": torch.arange(4)})
    torch.testing.assert_close(predicted, together, atol=1e-5, rtol=1e-5)


def test_the_loss_is_the_mean_absolute_error_of_normalised_noise():
    model = prior()
    model.log = lambda *a, **k: None
    model.normalization.mean.fill_(3.0)
    model.normalization.std.fill_(2.0)
    torch.nn.init.zeros_(model.network.head.weight)
    torch.nn.init.constant_(model.network.head.bias, 0.5)
    batch = {"semantic": torch.randn(6, 4), "index": torch.arange(6)}
    noise = model._noise(batch["index"])
    torch.testing.assert_close(model.validation_step(batch, 0), (noise - 0.5).abs().mean())


def test_the_classifier_tells_clusters_and_its_directions_lead_to_them(tmp_path):
    z, labels = codes()
    labels = np.where(np.arange(len(labels)) % 3 == 0, -1, labels)  # a third is unknown
    model = SemanticClassifier(dim=4, optimizer=partial(torch.optim.Adam, lr=0.05))
    run = trainer(tmp_path, max_steps=60)
    data = loader(EncodedFaces(z, labels), 64)
    run.fit(model, data, loader(EncodedFaces(z, labels), 64))
    assert run.callback_metrics["val/accuracy"] > 0.98
    with torch.no_grad():
        moved = model.directions.move(z[:1], "happy", 1.0)  # label 1: both components high
        assert (moved - z[:1])[0, :2].min() > 0.5
        assert torch.cat(run.predict(model, data)).shape == (256, 8)


def test_the_loss_is_one_emotion_against_the_rest_of_known_faces():
    model = SemanticClassifier(dim=3)
    model.log = lambda *a, **k: None
    torch.nn.init.zeros_(model.directions.linear.weight)
    model.directions.linear.bias.data = torch.arange(8.0) - 4
    bias = model.directions.linear.bias.detach()
    truth = torch.eye(8)[2]
    expected = -(truth * bias.sigmoid().log() + (1 - truth) * (1 - bias.sigmoid()).log()).mean()
    batch = {"semantic": torch.randn(2, 3), "label": torch.tensor([2, -1])}
    torch.testing.assert_close(model.training_step(batch, 0), expected)
    assert model.training_step({**batch, "label": torch.tensor([-1, -1])}, 0) == 0


@pytest.mark.parametrize("model", [prior(), SemanticClassifier(dim=4)])
def test_faces_without_codes_or_with_codes_of_another_size_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match="FakeFaces, which has none; train on a SemanticCodesDataModule"):
        trainer(tmp_path, max_steps=1).fit(model, loader(FakeFaces(4), 2))
    with pytest.raises(ValueError, match=r"codes of \(batch, 4\), got \(8, 5\)"):
        trainer(tmp_path, max_steps=1).fit(model, loader(EncodedFaces(torch.randn(8, 5), np.zeros(8, int)), 2))


def test_a_classifier_needs_labels(tmp_path):
    faces = EncodedFaces(torch.randn(8, 4), np.full(8, -1))
    with pytest.raises(ValueError, match="none of the training faces has a label"):
        trainer(tmp_path, max_steps=1).fit(SemanticClassifier(dim=4), loader(faces, 2))
