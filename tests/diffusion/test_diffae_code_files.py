import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffrig_emo.diffusion import (
    LatentMLP,
    SemanticEncoder,
    load_diffae_prior,
    load_semantic_encoder,
    read_diffae_classifier,
    read_diffae_prior,
)

PARITY = Path(__file__).parents[1] / "parity" / "diffae"


def drawn(name):
    shapes = json.loads((PARITY / name).read_text())
    state = {key: torch.randn(shape) for key, shape in shapes.items()}
    for key in state:  # one tensor under two names
        if ".linear_emb." in key:
            state[key] = state[key.replace(".linear_emb.", ".cond_layers.1.")]
    return state


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(2)
    return drawn("keys_latent_small.json")


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(3)
    return drawn("keys_small.json")


@pytest.fixture(scope="module")
def lightning(prior, autoencoder):
    """The content of a latent checkpoint as the original writes it."""
    state = {"x_T": torch.zeros(2, 3, 32, 32), "conds_mean": torch.randn(1, 64), "conds_std": torch.rand(1, 64) + 0.5}
    for name, tensor in (autoencoder | {f"latent_net.{n}": t for n, t in prior.items()}).items():
        state[f"model.{name}"] = tensor + 1
        state[f"ema_model.{name}"] = tensor
    return state


def saved(state, path):
    torch.save({"state_dict": state, "global_step": 7, "optimizer_states": [{}]}, path)
    return path


def classifier(dim=64, **changed):
    state = {"conds_mean": torch.randn(1, dim), "conds_std": torch.rand(1, dim) + 0.5}
    for part in ("classifier", "ema_classifier"):
        state |= {f"{part}.weight": torch.randn(40, dim), f"{part}.bias": torch.randn(40)}
    return state | changed


def test_the_official_prior_is_recognised():
    shapes = json.loads((PARITY / "keys_ffhq256_autoenc_latent.latent_net.json").read_text())
    with torch.device("meta"):
        network = LatentMLP()
        load_diffae_prior({name: torch.empty(shape) for name, shape in shapes.items()}, network)
    assert sum(p.numel() for p in network.parameters()) == 54_109_696


def test_the_averaged_prior_and_its_statistics_are_read(lightning, prior, tmp_path):
    network, normalization = read_diffae_prior(saved(lightning, tmp_path / "last.ckpt"))
    assert (network.dim, len(network.layers)) == (64, 3)
    assert torch.equal(network.layers[1].linear.weight, prior["layers.1.linear.weight"])
    assert torch.equal(network.layers[0].time.weight, prior["layers.0.linear_emb.weight"])
    assert torch.equal(network.head.bias, prior["layers.3.linear.bias"])
    assert torch.equal(normalization.std, lightning["conds_std"][0])
    save_file({n: t.clone() for n, t in lightning.items()}, tmp_path / "last.safetensors")
    again, _ = read_diffae_prior(tmp_path / "last.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(
    ("lost", "gained", "message"),
    [
        ("ema_model.latent_net.layers.1.norm.bias", {}, r"latent prior: 1 missing \(layers.1.norm.bias\)"),
        ("ema_model.latent_net.layers.1.cond_layers.1.bias", {}, r"1 missing \(layers.1.cond_layers.1.bias\)"),
        (None, {"ema_model.latent_net.extra": torch.zeros(1)}, r"1 unexpected \(extra\)"),
        (None, {"other.weight": torch.zeros(1)}, "with other.weight beside it"),
        ("conds_std", {}, "conds_std is missing"),
        (None, {"conds_mean": torch.zeros(1, 9)}, "expected conds_mean of 64 numbers"),
        ("ema_model.latent_net.layers.0.linear.weight", {}, "its autoencoder, with a latent prior; give"),
    ],
)
def test_what_is_wrong_with_a_prior_is_named(lightning, lost, gained, message, tmp_path):
    state = {name: tensor for name, tensor in lightning.items() if name != lost} | gained
    with pytest.raises(ValueError, match=message) as e:
        read_diffae_prior(saved(state, tmp_path / "last.ckpt"))
    assert str(e.value).startswith(f"{tmp_path / 'last.ckpt'}: ")


def test_other_files_are_no_prior(autoencoder, tmp_path):
    plain = {f"ema_model.{name}": tensor for name, tensor in autoencoder.items()}
    with pytest.raises(ValueError, match=r"its autoencoder, without a latent prior; give an `\*_autoenc_latent"):
        read_diffae_prior(saved(plain, tmp_path / "a.ckpt"))
    with pytest.raises(ValueError, match="its classifier"):
        read_diffae_prior(saved(classifier(), tmp_path / "b.ckpt"))
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        read_diffae_prior(tmp_path / "none.ckpt")


def test_the_classifier_that_the_authors_edit_with_is_read(tmp_path):
    state = classifier()
    directions = read_diffae_classifier(saved(state, tmp_path / "last.ckpt"), dim=64)
    assert torch.equal(directions.linear.weight, state["classifier.weight"])
    assert torch.equal(directions.normalization.mean, state["conds_mean"][0])
    assert directions.names[31] == "Smiling"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"classifier.weight": torch.zeros(39, 64)}, r"expected classifier.weight of \(40, code size\)"),
        ({"extra": torch.zeros(1)}, "got extra beside it"),
        ({"conds_std": torch.ones(1, 3)}, "expected conds_std of 64 numbers"),
    ],
)
def test_what_is_wrong_with_a_classifier_is_named(changed, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        read_diffae_classifier(saved(classifier(**changed), tmp_path / "last.ckpt"))


def test_a_classifier_of_another_code_size_and_other_files_are_named(lightning, tmp_path):
    path = saved(classifier(), tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=r"expected a classifier of codes of 512, .* got one of 64"):
        read_diffae_classifier(path, dim=512)
    with pytest.raises(ValueError, match="its autoencoder, with a latent prior; give an `"):
        read_diffae_classifier(saved(lightning, tmp_path / "latent.ckpt"))


def test_the_encoder_alone_is_taken_from_official_files_and_from_ours(autoencoder, lightning, tmp_path):
    def build(**settings):
        return SemanticEncoder(
            **{"image_size": 32, "base_channels": 32, "channel_mult": (1, 2, 2), "dim": 64} | settings
        )

    first, second, third = build(), build(), build()
    load_semantic_encoder(first, saved(lightning, tmp_path / "official.ckpt"))
    assert torch.equal(first.head_linear.bias, autoencoder["encoder.out.3.bias"])
    for number, (encoder, prefix) in enumerate([(second, "encoder"), (third, "semantic.encoder")]):
        ours = {f"conditioners.1.{prefix}.{n}": t for n, t in first.state_dict().items()}
        ours |= {"conditioners.0.encoder.other": torch.zeros(1), "denoiser.stem.weight": torch.zeros(1)}
        load_semantic_encoder(encoder, saved(ours, tmp_path / f"{number}.ckpt"))
        image = torch.randn(1, 3, 32, 32)
        assert torch.equal(encoder(image), first(image))

    with pytest.raises(ValueError, match=r"encoder_weights: .*official.ckpt: .* encoder: .*out.3"):
        load_semantic_encoder(build(dim=32), tmp_path / "official.ckpt")
    with pytest.raises(ValueError, match=r"tensors differ, such as head_linear.weight: the file has \(64, 64\)"):
        load_semantic_encoder(build(dim=32), tmp_path / "0.ckpt")
    with pytest.raises(ValueError, match="expected a trained autoencoder, got its classifier"):
        load_semantic_encoder(build(), saved(classifier(), tmp_path / "cls.ckpt"))
    with pytest.raises(FileNotFoundError, match="encoder_weights"):
        load_semantic_encoder(build(), tmp_path / "none.ckpt")
