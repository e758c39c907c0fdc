import itertools
import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from diffrig_emo.diffusion import (
    ConditionedUNet,
    ResNet18GlobalEncoder,
    ResNet50GlobalEncoder,
    TimmGlobalEncoder,
    VectorModulation,
    read_diffusionrig,
    write_diffusionrig,
)
from diffrig_emo.diffusion.diffusionrig_files import _encoder, _unet_settings
from diffrig_emo.diffusion.state_dicts import export_diffusionrig
from diffrig_emo.structures import Conditioning

PARITY = Path(__file__).parents[1] / "parity" / "diffusionrig"
MULTS = {64: (1, 2, 3, 4), 128: (1, 1, 2, 3, 4), 256: (1, 1, 2, 2, 4, 4), 512: (0.5, 1, 1, 2, 2, 4, 4)}


def official_shapes(name: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, shape in json.loads((PARITY / name).read_text()).items()}


def random_state(shapes) -> dict[str, torch.Tensor]:
    integer = "num_batches_tracked"
    return {n: torch.tensor(7) if n.endswith(integer) else torch.randn(s) for n, s in shapes.items()}


def meta_rig(image_size=256, base=128, encoder=ResNet18GlobalEncoder, dim=64, **settings):
    with torch.device("meta"):
        unet = ConditionedUNet(
            **{
                "spatial_channels": 9,
                "vectors": [VectorModulation("global", dim)],
                "image_size": image_size,
                "base_channels": base,
                "channel_mult": MULTS[image_size],
                "attention_resolutions": (16,),
            }
            | settings
        )
        return unet, encoder(dim)


@pytest.fixture(scope="module")
def state():
    torch.manual_seed(1)
    return random_state(official_shapes("keys_small.json"))


@pytest.fixture
def small_file(state, tmp_path):
    torch.save(state, tmp_path / "model050000.pt")
    return tmp_path / "model050000.pt"


@pytest.mark.parametrize("keys", ["keys_small.json", "keys_256_resnet18.json", "keys_256_resnet50.json"])
def test_the_original_architectures_are_recognised(keys):
    shapes = official_shapes(keys)
    official = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    with torch.device("meta"):
        unet, encoder = ConditionedUNet(**_unet_settings(official)), _encoder(official)
    ours = {name: tuple(tensor.shape) for name, tensor in export_diffusionrig(unet, encoder).items()}
    assert ours == shapes
    assert isinstance(encoder, ResNet50GlobalEncoder if "resnet50" in keys else ResNet18GlobalEncoder)
    assert 8 * unet.divisor == (64 if "small" in keys else 256)


@pytest.mark.parametrize(
    ("settings", "parameters", "entries"),
    [  # counted in the original code
        ({}, 144_610_179, 712),
        ({"encoder": ResNet50GlobalEncoder}, 157_040_003, 910),
        ({"dim": 512}, 156_423_491, 712),
        ({"image_size": 64}, 107_522_051, 534),
        ({"image_size": 128}, 111_169_411, 624),
        ({"image_size": 512}, 145_962_819, 804),
    ],
)
def test_every_official_size_comes_back(settings, parameters, entries):
    unet, encoder = meta_rig(**settings)
    official = export_diffusionrig(unet, encoder)
    assert len(official) == entries
    with torch.device("meta"):
        again = ConditionedUNet(**_unet_settings(official)), _encoder(official)
    assert sum(p.numel() for module in again for p in module.parameters()) == parameters
    assert {n: t.shape for n, t in export_diffusionrig(*again).items()} == {n: t.shape for n, t in official.items()}
    assert again[0].divisor * 8 == settings.get("image_size", 256)


@pytest.mark.parametrize(
    "settings",
    [
        {"image_size": 64, "base": 96, "channel_mult": (1, 5 / 3, 2, 3)},
        {"image_size": 64, "num_res_blocks": 1, "attention_resolutions": (32, 16, 8)},
        {"image_size": 64, "num_res_blocks": 3, "attention_resolutions": ()},
        {"image_size": 64, "channel_mult": (2,), "attention_resolutions": ()},
        {"image_size": 64, "vectors": [VectorModulation("global", 64, shift=False)]},
    ],
)
def test_unusual_sizes_are_recognised(settings):
    official = export_diffusionrig(*meta_rig(**settings))
    with torch.device("meta"):
        again = ConditionedUNet(**_unet_settings(official)), _encoder(official)
    assert {n: t.shape for n, t in export_diffusionrig(*again).items()} == {n: t.shape for n, t in official.items()}


def test_a_file_comes_back_bit_for_bit(state, small_file, tmp_path):
    unet, encoder = read_diffusionrig(small_file)
    assert not any(t.is_meta for m in (unet, encoder) for t in itertools.chain(m.parameters(), m.buffers()))
    assert all(p.requires_grad for p in itertools.chain(unet.parameters(), encoder.parameters()))
    for name in ("model000001.pt", "model.safetensors"):
        write_diffusionrig(tmp_path / name, unet, encoder)
        again = export_diffusionrig(*read_diffusionrig(tmp_path / name))
        assert again.keys() == state.keys()
        assert all(torch.equal(again[key], value) for key, value in state.items())
    written = torch.load(tmp_path / "model000001.pt", weights_only=True)
    assert {n: (t.shape, t.dtype) for n, t in written.items()} == {n: (t.shape, t.dtype) for n, t in state.items()}
    assert (tmp_path / "model000001.pt").stat().st_size < 1.02 * small_file.stat().st_size


def test_both_modules_run_and_train(small_file):
    unet, encoder = read_diffusionrig(small_file)
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    conditioning = Conditioning(spatial=torch.rand(2, 9, 64, 64), vectors={"global": encoder(image)})
    unet(image, torch.tensor([3, 700]), conditioning).mean().backward()
    assert unet.stem.weight.grad is not None
    assert encoder.backbone.conv1.weight.grad is not None


def test_prefixed_and_half_precision_files_are_read(state, tmp_path):
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "ddp.pt")
    unet, encoder = read_diffusionrig(tmp_path / "ddp.pt")
    assert torch.equal(export_diffusionrig(unet, encoder)["encoder.fc.bias"], state["encoder.fc.bias"])
    save_file({n: v.half() if v.is_floating_point() else v for n, v in state.items()}, tmp_path / "half.safetensors")
    unet, _ = read_diffusionrig(tmp_path / "half.safetensors", num_heads=2, dropout=0.0)
    assert unet.stem.weight.dtype == torch.float32
    assert unet.middle_blocks[0].attention.num_heads == 2
    assert unet.middle_blocks[0].residual.dropout.p == 0.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state": {}, "param_groups": []}, r"optimizer's state .*give the `model050000.pt` beside it"),
        ({"E_flame": {}, "E_detail": {}, "D_detail": {}}, r"DECA's `deca_model.tar`"),
        ({"state_dict": {"deca.E_expression.layers.0.weight": torch.zeros(1)}}, r"EMOCA's checkpoint"),
        ({"state_dict": {"denoiser.stem.weight": torch.zeros(1)}}, r"Lightning checkpoint; .*write_diffusionrig"),
        ({"conv1.weight": torch.zeros(1)}, r"without `denoisingUNet\.\*` \(1 entries: conv1.weight"),
        ([torch.zeros(1)], r"expected a dictionary of weights, got list"),
        ({"denoisingUNet.step": 3}, r"expected a DiffusionRig model, got a file"),
        ({"denoisingUNet.out.2.weight": torch.zeros(3, 1, 3, 3)}, r"unknown UNet: denoisingUNet\.time_embed.* missing"),
    ],
)
def test_other_files_are_named(content, message, tmp_path):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=message) as e:
        read_diffusionrig(tmp_path / "other.pt")
    assert str(e.value).startswith(f"{tmp_path / 'other.pt'}: ")
    assert "\n" not in str(e.value)


def test_a_whole_pickled_model_is_refused_in_one_line(tmp_path):
    torch.save(nn.Linear(1, 1), tmp_path / "module.pt")
    with pytest.raises(ValueError, match=r"module.pt") as e:
        read_diffusionrig(tmp_path / "module.pt")
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.999])
def test_truncated_files_are_named(small_file, suffix, keep):
    path = small_file.with_suffix(f".{suffix}")
    if suffix == "safetensors":
        save_file(torch.load(small_file, weights_only=True), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} \(.* bytes\) cannot be read .*again"):
        read_diffusionrig(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing.pt"):
        read_diffusionrig(tmp_path / "nothing.pt")


def test_what_does_not_fit_is_told_by_component(state, tmp_path):
    broken = dict(state)
    for name in ("emb_layers.1.weight", "emb_layers.1.bias", "out_layers.3.bias"):
        del broken[f"denoisingUNet.middle_block.0.{name}"]
    broken["encoder.bn1.weight"] = torch.zeros(3)
    broken["encoder.extra"] = torch.zeros(3)
    broken["ema.decay"] = torch.zeros(1)
    torch.save(broken, tmp_path / "broken.pt")
    with pytest.raises(ValueError, match=r"UNet: 3 missing \(denoisingUNet\.middle_block\.0") as e:
        read_diffusionrig(tmp_path / "broken.pt")
    assert "encoder: 1 unexpected (encoder.extra), 1 mis-sized (encoder.bn1.weight is (3,), wanted (64,))" in str(
        e.value
    )
    assert "neither: 1 unexpected (ema.decay)" in str(e.value)
    assert "\n" not in str(e.value)


def test_unknown_encoders_and_learned_variances_are_named(state, tmp_path):
    torch.save({n: v for n, v in state.items() if not n.startswith("encoder.layer4.1")}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"ResNet-18 or ResNet-50 .* got \[2, 2, 2, 1\]"):
        read_diffusionrig(tmp_path / "a.pt")
    torch.save(state | {"denoisingUNet.out.2.weight": torch.zeros(6, 32, 3, 3)}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"12 channels into 6; .* without learned variances"):
        read_diffusionrig(tmp_path / "b.pt")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"patch_size": 2, "attention_resolutions": ()}, "patch_size"),
        ({"vectors": [VectorModulation("global", 64, shift=False)]}, "only scales"),
        ({"vectors": [VectorModulation("a", 64), VectorModulation("b", 64)]}, r"one vector, this one \['a', 'b'\]"),
        ({"vectors": [VectorModulation("global", 32)]}, "takes a vector of 32, the encoder gives 64"),
        ({"spatial_channels": 6}, r"3 \+ 9 channels, this one 3 \+ 6"),
        ({"time_embed_dim": 64}, r"4 \* 128 numbers, this one 64"),
        ({"base": 16}, "GroupNorm needs widths that 32 divides"),
        ({"channel_mult": (1, 1.5, 2, 4)}, "whole numbers"),
    ],
)
def test_what_the_original_cannot_build_is_not_written(settings, message, tmp_path):
    unet, encoder = meta_rig(**{"image_size": 64} | settings)
    with pytest.raises(ValueError, match=message):
        write_diffusionrig(tmp_path / "model.pt", unet, encoder)
    assert not list(tmp_path.iterdir())


def test_other_encoders_are_not_written(tmp_path):
    unet, _ = meta_rig(image_size=64)
    with pytest.raises(ValueError, match="this one a TimmGlobalEncoder"):
        write_diffusionrig(tmp_path / "model.pt", unet, TimmGlobalEncoder("resnet10t", dim=64))


def test_the_official_512_multipliers_are_allowed(tmp_path):
    unet, encoder = meta_rig(image_size=512, base=64)
    write_diffusionrig(tmp_path / "model.pt", unet.to_empty(device="cpu"), encoder.to_empty(device="cpu"))
    assert (tmp_path / "model.pt").exists()
