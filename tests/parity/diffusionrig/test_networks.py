import numpy as np
import pytest
import torch

from diffrig_emo.diffusion import (
    ConditionedUNet,
    ResNet18GlobalEncoder,
    ResNet50GlobalEncoder,
    VectorModulation,
    export_diffusionrig,
    load_diffusionrig,
)
from diffrig_emo.structures import Conditioning


def assert_same_pass(ours, reference):
    """Single network passes differ by rounding only: 2e-5 of the largest value."""
    np.testing.assert_allclose(ours.numpy(), reference, rtol=0, atol=2e-5 * np.abs(reference).max())


def test_encoder(small, uniform, numbers):
    reference = numbers("forward_small.npz")
    with torch.no_grad():
        assert_same_pass(small.encoder(uniform("small/image", 2, 3, 64, 64)), reference["encode_cond"])
        assert_same_pass(small.encoder(uniform("small/image256", 1, 3, 256, 256)), reference["encode_cond_256"])


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("t", ["0", "1", "50", "500", "999", "mixed"])
def test_unet(small, normal, conditions, numbers, t, grad):
    physic, code = conditions
    steps = torch.tensor([7, 321]) if t == "mixed" else torch.full((2,), int(t))
    with torch.set_grad_enabled(grad):
        ours = small.denoiser(physic, code)(normal("small/x", 2, 3, 64, 64), steps)
    assert_same_pass(ours.detach(), numbers("forward_small.npz")["unet.mixed_t" if t == "mixed" else f"unet.t{t}"])


def test_unet_without_its_optional_vector(small, normal, conditions, numbers):
    x, t = normal("small/x", 2, 3, 64, 64), torch.full((2,), 50)
    with torch.no_grad():
        ours = small.unet(x, t, Conditioning(spatial=conditions[0]))
    assert_same_pass(ours, numbers("forward_small.npz")["unet.no_detail.t50"])


def test_weights_survive_the_way_to_the_official_names_and_back(small, official_small, fresh_small):
    exported = export_diffusionrig(small.unet, small.encoder)
    assert exported.keys() == official_small.keys()
    for name, tensor in official_small.items():
        assert torch.equal(exported[name], tensor), name


def test_a_checkpoint_that_does_not_fit_is_refused_before_anything_is_changed(official_small, fresh_small):
    before = {name: tensor.clone() for name, tensor in fresh_small.unet.state_dict().items()}
    broken = {name: tensor + 1 for name, tensor in official_small.items()}
    del broken["encoder.fc.bias"]
    broken["denoisingUNet.extra"] = torch.zeros(1)
    broken["denoisingUNet.out.2.weight"] = torch.zeros(6, 32, 3, 3)
    with pytest.raises(
        ValueError, match=r"1 missing \(encoder.fc.bias\).*1 unexpected \(denoisingUNet.extra\).*out\.2"
    ) as e:
        load_diffusionrig(broken, fresh_small.unet, fresh_small.encoder)
    assert "(6, 32, 3, 3), wanted (3, 32, 3, 3)" in str(e.value)
    for name, tensor in fresh_small.unet.state_dict().items():
        assert torch.equal(before[name], tensor), name


def unet_256() -> ConditionedUNet:
    with torch.device("meta"):
        unet = ConditionedUNet(
            spatial_channels=9,
            vectors=[VectorModulation("global", 64)],
            image_size=256,
            base_channels=128,
            channel_mult=(1, 1, 2, 2, 4, 4),
            attention_resolutions=(16,),
        )
    return unet.to_empty(device="cpu").eval()


@pytest.mark.slow
def test_full_size_with_resnet18(official_256, uniform, normal, numbers):
    reference = numbers("full256_resnet18.npz")
    unet, encoder = unet_256(), ResNet18GlobalEncoder(64).eval()
    load_diffusionrig(official_256, unet, encoder)
    assert sum(p.numel() for p in unet.parameters()) + sum(p.numel() for p in encoder.parameters()) == 144_610_179
    with torch.no_grad():
        code = encoder(uniform("full/image", 1, 3, 256, 256))
        assert_same_pass(code, reference["encode_cond"])
        conditioning = Conditioning(spatial=uniform("full/physic", 1, 9, 256, 256), vectors={"global": code})
        for t in (20, 700):
            ours = unet(normal("full/x", 1, 3, 256, 256), torch.tensor([t]), conditioning)
            largest = float(reference[f"unet.t{t}.absmax"])
            picked = ours.flatten()[torch.from_numpy(reference[f"unet.t{t}.idx"])]
            np.testing.assert_allclose(picked.numpy(), reference[f"unet.t{t}.val"], rtol=0, atol=2e-5 * largest)
            np.testing.assert_allclose(ours.abs().max(), largest, rtol=2e-5)
            np.testing.assert_allclose(ours.double().mean(), reference[f"unet.t{t}.mean"], atol=2e-6)
            np.testing.assert_allclose(ours.double().std(correction=0), reference[f"unet.t{t}.std"], atol=2e-6)


def test_resnet50_encoder(official_256_resnet50_encoder, uniform, numbers):
    encoder = ResNet50GlobalEncoder(64).eval()
    state = {"backbone." + n.removeprefix("encoder."): tensor for n, tensor in official_256_resnet50_encoder.items()}
    encoder.load_state_dict(state, strict=True)
    with torch.no_grad():
        code = encoder(uniform("full/image", 1, 3, 256, 256))
    assert_same_pass(code, numbers("full256_resnet50.npz")["encode_cond"])
