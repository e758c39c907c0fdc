import pytest
import torch
from torch import nn
from torchvision.models import resnet34

from diffrig_emo.diffusion import ResNet18GlobalEncoder, ResNet50GlobalEncoder, ResNetGlobalEncoder, TimmGlobalEncoder


@pytest.mark.parametrize(
    ("build", "parameters"),
    [
        (lambda: ResNet18GlobalEncoder(64), 11_209_344),  # DiffusionRig's published counts
        (lambda: ResNet50GlobalEncoder(64), 23_639_168),
        (lambda: ResNetGlobalEncoder(resnet34(), 64), None),
        (lambda: TimmGlobalEncoder("resnet10t", 64), None),
    ],
)
def test_codes(build, parameters):
    encoder = build().eval()
    assert encoder.dim == 64
    if parameters is not None:
        assert sum(p.numel() for p in encoder.parameters()) == parameters
    with torch.no_grad():
        codes = encoder(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert codes.shape == (2, 64)
    assert not torch.allclose(codes[0], codes[1])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TimmGlobalEncoder("resnet10x"), "no model 'resnet10x'"),
        (lambda: ResNetGlobalEncoder(nn.Sequential()), "linear `fc`, got Sequential"),
        (lambda: ResNet18GlobalEncoder(0), "dim must be at least 1"),
    ],
)
def test_bad_settings_are_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
