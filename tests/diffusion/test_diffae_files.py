import itertools
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffrig_emo.diffusion import (
    ConditionedUNet,
    SemanticEncoder,
    VectorModulation,
    export_diffae,
    read_diffae,
    write_diffae,
)
from diffrig_emo.diffusion.diffae_files import _settings

PARITY = Path(__file__).parents[1] / "parity" / "diffae"


def official(name):
    shapes = json.loads((PARITY / name).read_text())
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def shapes(state):
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(1)
    return {name: torch.randn(tensor.shape) for name, tensor in official("keys_small.json").items()}


@pytest.fixture(scope="module")
def lightning(state, tmp_path_factory):
    """As the original writes it: raw and averaged weights, a noise, a latent prior with its statistics."""
    content = {"x_T": torch.zeros(2, 3, 32, 32), "conds_mean": torch.zeros(1, 64), "conds_std": torch.ones(1, 64)}
    content |= {f"model.{name}": tensor + 1 for name, tensor in state.items()}
    content |= {f"ema_model.{name}": tensor for name, tensor in state.items()}
    content |= {f"{part}.latent_net.layers.0.linear.weight": torch.zeros(2, 2) for part in ("model", "ema_model")}
    path = tmp_path_factory.mktemp("diffae") / "last.ckpt"
    torch.save({"state_dict": content, "global_step": 7, "optimizer_states": [{}]}, path)
    return path


def small(encoder=None, **settings):
    """A model on the meta device that the original could build, but for what is changed."""
    with torch.device("meta"):
        unet = ConditionedUNet(
            **{
                "vectors": [VectorModulation("semantic", 8, shift=False)],
                "image_size": 32,
                "base_channels": 32,
                "channel_mult": (1, 2),
                "attention_resolutions": (16,),
                "time_embed_dim": 64,
            }
            | settings
        )
        own = {"image_size": 32, "base_channels": 32, "channel_mult": (1, 2, 2), "dim": 8} | (encoder or {})
        return unet, SemanticEncoder(**own)


@pytest.mark.parametrize(("image_size", "parameters"), [(64, 90_839_235), (128, 128_545_155), (256, 168_492_291)])
def test_the_official_presets_are_recognised(image_size, parameters):
    weights = official(f"keys_ffhq{image_size}_autoenc.json")
    unet_settings, encoder_settings = _settings(weights)
    with torch.device("meta"):
        unet, encoder = ConditionedUNet(**unet_settings), SemanticEncoder(**encoder_settings)
    assert shapes(export_diffae(unet, encoder)) == shapes(weights)
    assert sum(p.numel() for p in itertools.chain(unet.parameters(), encoder.parameters())) == parameters
    assert encoder.image_size == image_size
    assert unet.vectors == (VectorModulation("semantic", 512, shift=False),)


@pytest.mark.parametrize(
    ("settings", "encoder"),
    [
        ({"num_res_blocks": 1}, {"num_res_blocks": 1}),
        ({"attention_resolutions": ()}, {"attention_resolutions": (), "channel_mult": (1, 1.5)}),
        ({"attention_resolutions": (32, 16)}, {"attention_resolutions": (8,), "base_channels": 64}),
    ],
)
def test_unusual_sizes_are_recognised(settings, encoder):
    weights = export_diffae(*small(encoder=encoder, **settings))
    unet_settings, encoder_settings = _settings(weights)
    with torch.device("meta"):
        again = ConditionedUNet(**unet_settings), SemanticEncoder(**encoder_settings)
    assert shapes(export_diffae(*again)) == shapes(weights)


def test_the_averaged_weights_are_read_and_the_rest_stays_in_the_file(state, lightning):
    unet, encoder = read_diffae(lightning, num_heads=2, dropout=0.0)
    exported = export_diffae(unet, encoder)
    assert exported.keys() == state.keys()
    assert all(torch.equal(exported[name], tensor) for name, tensor in state.items())
    assert all(p.requires_grad and not p.is_meta for p in itertools.chain(unet.parameters(), encoder.parameters()))
    assert (encoder.image_size, encoder.dim) == (32, 64)
    assert unet.middle_blocks[0].attention.num_heads == encoder.middle_blocks[0].attention.num_heads == 2
    assert unet.middle_blocks[0].residual.dropout.p == 0.0


def test_a_model_comes_back_bit_for_bit(state, lightning, tmp_path):
    unet, encoder = read_diffae(lightning)
    unet.add_vector(VectorModulation("expression", 5))  # the original knows nothing of it
    for name in ("last.ckpt", "last.safetensors"):
        write_diffae(tmp_path / name, unet, encoder)
        again = export_diffae(*read_diffae(tmp_path / name))
        assert again.keys() == state.keys()
        assert all(torch.equal(again[key], tensor) for key, tensor in state.items())
    written = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert set(written["state_dict"]) == {f"{part}.{name}" for part in ("model", "ema_model") for name in state}
    assert written["global_step"] == 0
    one, both = ((tmp_path / name).stat().st_size for name in ("last.safetensors", "last.ckpt"))
    assert both < 1.6 * one  # two names, one storage
    assert all(name.startswith("ema_model.") for name in load_file(tmp_path / "last.safetensors"))


def test_bare_names_and_half_precision_are_read(state, tmp_path):
    save_file({name: tensor.half() for name, tensor in state.items()}, tmp_path / "bare.safetensors")
    unet, _ = read_diffae(tmp_path / "bare.safetensors")
    assert unet.stem.weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"classifier.weight": torch.zeros(40, 512)}}, "its classifier, which holds no network; give"),
        ({"conds": torch.zeros(2, 512), "conds_mean": torch.zeros(512)}, r"its codes of a data set \(`latent.pkl`\)"),
        ({"state_dict": {"ema_model.time_embed.0.weight": torch.zeros(1)}}, "its plain DDIM, which has no encoder"),
        ({"denoisingUNet.stem": torch.zeros(1)}, "DiffusionRig's model, which `read_diffusionrig` reads"),
        ({"state_dict": {"denoiser.stem.weight": torch.zeros(1)}}, "a checkpoint of ours"),
        ({"conv1.weight": torch.zeros(1)}, r"without `ema_model.encoder\.\*` \(1 entries: conv1.weight"),
        ({"state_dict": 3}, "expected a diffusion autoencoder"),
    ],
)
def test_other_files_are_named(content, message, tmp_path):
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=message) as e:
        read_diffae(tmp_path / "other.ckpt")
    assert str(e.value).startswith(f"{tmp_path / 'other.ckpt'}: ")
    assert "\n" not in str(e.value)


def test_what_is_missing_left_over_or_mis_sized_is_named(state, tmp_path):
    broken = {name: tensor for name, tensor in state.items() if name != "encoder.out.3.bias"}
    broken |= {"extra.weight": torch.zeros(1), "encoder.middle_block.0.in_layers.2.bias": torch.zeros(3)}
    torch.save({"state_dict": {f"ema_model.{name}": tensor for name, tensor in broken.items()}}, tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"encoder: 1 missing \(encoder.out.3.bias\), 1 mis-sized") as e:
        read_diffae(tmp_path / "a.ckpt")
    assert "UNet: 1 unexpected (extra.weight)" in str(e.value)
    torch.save({n: t for n, t in state.items() if not n.startswith("out.2")}, tmp_path / "b.ckpt")
    with pytest.raises(ValueError, match=r"unknown UNet: out.2.weight is missing"):
        read_diffae(tmp_path / "b.ckpt")
    torch.save({n: t for n, t in state.items() if not n.startswith("encoder.out.3")}, tmp_path / "c.ckpt")
    with pytest.raises(ValueError, match=r"unknown encoder: encoder.out.3.weight is missing"):
        read_diffae(tmp_path / "c.ckpt")


def test_truncated_and_missing_files_are_named(lightning, tmp_path):
    data = lightning.read_bytes()
    (tmp_path / "torn.ckpt").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"torn.ckpt \(.* bytes\) cannot be read"):
        read_diffae(tmp_path / "torn.ckpt")
    with pytest.raises(FileNotFoundError, match=r"nothing\.ckpt"):
        read_diffae(tmp_path / "nothing.ckpt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 2, "attention_resolutions": ()}, "no patch_size"),
        ({"vectors": ()}, "this one none"),
        ({"vectors": [VectorModulation("semantic", 8)]}, "only scales, 'semantic' also shifts"),
        ({"encoder": {"dim": 9}}, "takes a vector of 8, the encoder gives 9"),
        ({"spatial_channels": 9}, r"3 channels, this one 3 \+ 9"),
        ({"attention_resolutions": (32,)}, "for pictures of 16 pixels, the encoder for 32"),
        ({"attention_resolutions": ()}, "attention of its UNet lies at 16x16 pixels alone"),
        ({"encoder": {"channel_mult": (1, 1.5)}}, "whole numbers"),
    ],
)
def test_what_the_original_cannot_build_is_not_written(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_diffae(tmp_path / "last.ckpt", *small(**settings))
    assert not list(tmp_path.iterdir())
