import pytest
import torch
import torch.nn.functional as F
from jsonargparse import ArgumentParser
from torch import nn

from diffrig_emo.diffusion import ConditionedUNet, VectorModulation
from diffrig_emo.structures import Conditioning

MULTIPLIERS = {64: (1, 2, 3, 4), 128: (1, 1, 2, 3, 4), 256: (1, 1, 2, 2, 4, 4), 512: (0.5, 1, 1, 2, 2, 4, 4)}


def small_unet(**settings) -> ConditionedUNet:
    torch.manual_seed(0)
    defaults = {
        "spatial_channels": 9,
        "vectors": [VectorModulation("global", 8)],
        "image_size": 16,
        "base_channels": 16,
        "channel_mult": (1, 2),
        "num_res_blocks": 1,
        "attention_resolutions": (16,),
    }
    unet = ConditionedUNet(**{**defaults, **settings})
    for parameter in unet.parameters():
        if not parameter.any():  # zero-initialised layers would hide everything
            nn.init.normal_(parameter, std=0.1)
    return unet.eval()


def inputs(batch=2, size=(16, 16), spatial=9):
    x_t, t = torch.randn(batch, 3, *size), torch.randint(1000, (batch,))
    return x_t, t, Conditioning(spatial=torch.randn(batch, spatial, *size), vectors={"global": torch.randn(batch, 8)})


@pytest.mark.parametrize(
    ("image_size", "total"), [(64, 107_522_051), (128, 111_169_411), (256, 144_610_179), (512, 145_962_819)]
)
def test_size_of_diffusionrigs_networks(image_size, total):
    with torch.device("meta"):
        unet = ConditionedUNet(
            spatial_channels=9,
            vectors=[VectorModulation("global", 64)],
            image_size=image_size,
            base_channels=128,
            channel_mult=MULTIPLIERS[image_size],
            attention_resolutions=(16,),
        )
    resnet18 = 11_209_344
    assert sum(p.numel() for p in unet.parameters()) + resnet18 == total


@pytest.mark.parametrize(
    ("image_size", "base", "multipliers", "total"),
    [
        (64, 64, (1, 2, 4, 8), 71_518_723),
        (128, 128, (1, 1, 2, 3, 4), 103_871_619),
        (256, 128, (1, 1, 2, 2, 4, 4), 138_341_891),
    ],
)
def test_size_of_diffusion_autoencoders_networks(image_size, base, multipliers, total):
    with torch.device("meta"):
        unet = ConditionedUNet(
            vectors=[VectorModulation("semantic", 512, shift=False)],
            image_size=image_size,
            base_channels=base,
            channel_mult=multipliers,
            attention_resolutions=(16,),
            time_embed_dim=512,
        )
    assert sum(p.numel() for p in unet.parameters()) == total


def test_an_untrained_unet_predicts_zero():
    unet = ConditionedUNet(image_size=8, base_channels=8, channel_mult=(1, 2))
    assert not unet(torch.randn(2, 3, 8, 8), torch.tensor([0, 999])).any()


def test_inference_and_training_give_the_same_picture():
    """Inference runs channels-last and in place; training does neither."""
    unet, arguments = small_unet(), inputs(3)
    trained = unet(*arguments)
    with torch.no_grad():
        inferred = unet(*arguments)
    assert inferred.is_contiguous()
    torch.testing.assert_close(inferred, trained.detach(), rtol=1e-4, atol=1e-5)


def test_inputs_are_not_written_to():
    unet, (x_t, t, conditioning) = small_unet(spatial_channels=0), inputs()
    x_t = x_t.to(memory_format=torch.channels_last)
    kept, code = x_t.clone(), conditioning.vectors["global"].clone()
    with torch.no_grad():
        unet(x_t, t, conditioning.replace(spatial=None))
    assert torch.equal(x_t, kept)
    assert torch.equal(conditioning.vectors["global"], code)


@torch.no_grad()
def test_samples_of_a_batch_do_not_see_each_other():
    unet, (x_t, t, conditioning) = small_unet(), inputs(3)
    together = unet(x_t, t, conditioning)
    alone = torch.cat([unet(x_t[i : i + 1], t[i : i + 1], conditioning[i]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns_and_every_condition_counts():
    unet, (x_t, t, conditioning) = small_unet(), inputs()
    spatial, code = conditioning.spatial.requires_grad_(), conditioning.vectors["global"].requires_grad_()
    unet(x_t, t, conditioning).square().sum().backward()
    silent = [name for name, p in unet.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert spatial.grad.abs().sum() > 0
    assert code.grad.abs().sum() > 0


@torch.no_grad()
@pytest.mark.parametrize("patch_size", [2, 4])
def test_patches_are_a_unet_on_folded_pixels(patch_size):
    x_t, t, conditioning = inputs(size=(16, 32))
    unet = small_unet(patch_size=patch_size, attention_resolutions=())
    fold = patch_size**2
    folded = small_unet(
        in_channels=3 * fold, out_channels=3 * fold, spatial_channels=9 * fold, attention_resolutions=()
    )
    folded.load_state_dict(unet.state_dict())
    inner = conditioning.replace(spatial=F.pixel_unshuffle(conditioning.spatial, patch_size))
    expected = F.pixel_shuffle(folded(F.pixel_unshuffle(x_t, patch_size), t, inner), patch_size)
    torch.testing.assert_close(unet(x_t, t, conditioning), expected)


@torch.no_grad()
def test_an_optional_vector_may_be_missing():
    unet = small_unet(vectors=[VectorModulation("global", 8), VectorModulation("emotion", 4, required=False)])
    x_t, t, conditioning = inputs()
    without = unet(x_t, t, conditioning)
    emotion = {**conditioning.vectors, "emotion": torch.randn(2, 4)}
    assert (unet(x_t, t, conditioning.replace(vectors=emotion)) - without).abs().max() > 1e-3


@torch.no_grad()
def test_bfloat16_stays_near_float32():
    unet, (x_t, t, conditioning) = small_unet(), inputs()
    exact = unet(x_t, t, conditioning)
    rounded = unet.bfloat16()(x_t.bfloat16(), t, conditioning.to(torch.bfloat16))
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_dropout_works_in_training_only():
    unet, arguments = small_unet(dropout=0.5), inputs()
    assert torch.equal(unet(*arguments), unet(*arguments))
    unet.train()
    assert not torch.equal(unet(*arguments), unet(*arguments))


def test_from_a_config():
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--denoiser", type=nn.Module)
    vectors = [
        {"name": "global", "dim": 8},
        {"class_path": "diffrig_emo.diffusion.VectorModulation", "init_args": {"name": "z", "dim": 4, "shift": False}},
    ]
    arguments = {"image_size": 16, "base_channels": 8, "channel_mult": [1, 0.5], "vectors": vectors}
    config = {"class_path": "diffrig_emo.diffusion.ConditionedUNet", "init_args": arguments}
    unet = parser.instantiate(parser.parse_object({"denoiser": config})).denoiser
    assert unet.vectors == (VectorModulation("global", 8), VectorModulation("z", 4, shift=False))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 18, "channel_mult": (1, 1, 2)}, "image_size 18 cannot be halved 2 times .* multiple of 4"),
        ({"image_size": 10, "patch_size": 4}, "patch_size 4: use a multiple of 8"),
        ({"patch_size": 3}, "patch_size must be 1, 2 or 4, got 3"),
        ({"attention_resolutions": (16, 4)}, r"attention_resolutions \[4\]: .* the levels are \[16, 8\]"),
        ({"num_heads": 3}, r"num_heads 3 must divide .* \[16, 32\]"),
        ({"base_channels": 15}, "even base_channels"),
        ({"channel_mult": ()}, "positive channel_mult"),
        ({"num_res_blocks": 0}, "num_res_blocks"),
        ({"vectors": [VectorModulation("a", 2), VectorModulation("a", 3)]}, "different names"),
        ({"vectors": [VectorModulation("a.b", 2)]}, "'a.b' cannot name a layer"),
        ({"vectors": [VectorModulation("type", 2)]}, "'type' cannot name a layer"),
        ({"vectors": [VectorModulation("a", 0)]}, "'a' needs a positive dim, got 0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        small_unet(**settings)


SPATIAL, CODE = torch.zeros(2, 9, 16, 16), torch.zeros(2, 8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_t": torch.zeros(2, 4, 16, 16)}, r"x_t must be \(batch, 3, height, width\), got \(2, 4, 16, 16\)"),
        ({"x_t": torch.zeros(2, 3, 16, 15)}, "x_t of 16x15 pixels cannot be halved .* multiples of 2"),
        ({"t": torch.tensor([1, 2, 3])}, r"t must hold 2 integer steps, got torch.int64 \(3,\)"),
        ({"t": torch.tensor([0.1, 0.2])}, "got torch.float32"),
        ({"spatial": None}, r"conditioning.spatial is missing; this UNet needs \(2, 9, 16, 16\)"),
        ({"spatial": SPATIAL[:, :6]}, r"conditioning.spatial must be \(2, 9, 16, 16\), got \(2, 6, 16, 16\)"),
        ({"spatial": SPATIAL[..., :8]}, r"conditioning.spatial must be .* got \(2, 9, 16, 8\)"),
        ({"vectors": {}}, r"missing \['global'\]"),
        ({"vectors": {"global": CODE, "emotion": CODE}}, r"unknown \['emotion'\]; .* built for \['global'\]"),
        ({"vectors": {"global": CODE[:, :5]}}, r"conditioning.vectors\['global'\] must be \(2, 8\), got \(2, 5\)"),
        ({"tokens": torch.zeros(2, 4, 8)}, "no cross-attention"),
    ],
)
def test_bad_inputs_are_named(changes, message):
    arguments = {"x_t": torch.zeros(2, 3, 16, 16), "t": torch.tensor([1, 2]), "spatial": SPATIAL} | changes
    vectors = arguments.get("vectors", {"global": CODE})
    conditioning = Conditioning(spatial=arguments["spatial"], vectors=vectors, tokens=arguments.get("tokens"))
    with pytest.raises(ValueError, match=message):
        small_unet()(arguments["x_t"], arguments["t"], conditioning)


def test_a_unet_without_buffers_refuses_them():
    with pytest.raises(ValueError, match=r"conditioning.spatial must be \(2, 0, 16, 16\), got"):
        small_unet(spatial_channels=0)(*inputs())
