"""The original's numbers about semantic codes: its latent prior, and manipulation along a classifier's directions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from diffrig_emo.diffusion import (
    CELEBA_ATTRIBUTES,
    CodeNormalization,
    LatentMLP,
    LinearSchedule,
    SemanticDirections,
    ddim_sample,
    load_diffae_prior,
    strided_timesteps,
)
from diffrig_emo.modules import LatentPrior

HERE = Path(__file__).parent
TAG = "open/diffae/latent_small"


@pytest.fixture(scope="module")
def network(fill):
    shapes = json.loads((HERE / "keys_latent_small.json").read_text())
    # The fixtures' seeds have the prefix that the names in the file lack. Aliased names got different numbers; as in
    # the original, the second name's are those that count.
    official = {name: torch.from_numpy(fill.fill_tensor(f"latent_net.{name}", s)) for name, s in shapes.items()}
    network = LatentMLP(dim=64, hidden_dim=128, num_layers=4)
    load_diffae_prior(official, network)
    return network.eval()


def test_latent_prior(network, fill, numbers):
    reference = numbers("latent_small.npz")
    z_t = torch.from_numpy(fill.seeded_normal(f"{TAG}/x", (4, 64)))
    with torch.no_grad():
        eps = network(z_t, torch.from_numpy(reference["t"]))
    largest = np.abs(reference["pred"]).max()
    np.testing.assert_allclose(eps, reference["pred"], rtol=0, atol=2e-5 * largest)


@torch.no_grad()
def test_sampling(network, fill, numbers):
    reference, grid = numbers("latent_small.npz"), strided_timesteps(20)
    assert grid == reference["latent_timesteps"].tolist()
    # These numbers were made under the linear schedule; official priors have `ConstantSchedule`.
    prior = LatentPrior(network, LinearSchedule(), num_inference_steps=20)
    prior.normalization.std.copy_(torch.from_numpy(fill.seeded_array(f"{TAG}/conds_std", (64,), 0.5, 1.5)))
    prior.normalization.mean.copy_(torch.from_numpy(fill.seeded_normal(f"{TAG}/conds_mean", (64,), 0.5)))
    noise = torch.from_numpy(fill.seeded_normal(f"{TAG}/noise", (2, 64)))
    drawn = ddim_sample(network, noise, LinearSchedule(), grid, clip=False)
    largest = np.abs(reference["sampled_latent"]).max()
    np.testing.assert_allclose(drawn, reference["sampled_latent"], rtol=0, atol=1e-5 * largest)
    denormalised = reference["sampled_denormalized"]
    np.testing.assert_allclose(prior.sample(noise), denormalised, rtol=0, atol=1e-5 * np.abs(denormalised).max())


@torch.no_grad()
def test_manipulation(fill, numbers):
    reference = numbers("manipulation.npz")
    directions = SemanticDirections()
    directions.linear.weight.copy_(torch.from_numpy(fill.fill_tensor("classifier.weight", (40, 512))))
    directions.linear.bias.copy_(torch.from_numpy(fill.fill_tensor("classifier.bias", (40,))))
    statistics = CodeNormalization()
    statistics.mean.copy_(torch.from_numpy(reference["conds_mean"]))
    statistics.std.copy_(torch.from_numpy(reference["conds_std"]))
    directions.normalization = statistics
    z = torch.from_numpy(reference["cond"])
    name = CELEBA_ATTRIBUTES[reference["class_id"]]
    assert name == "Smiling"
    moved = directions.move(z, name, float(reference["amount"]))
    np.testing.assert_allclose(directions(z), reference["logits_before"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(moved, reference["result"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(directions(moved), reference["logits_after"], rtol=0, atol=1e-5)
