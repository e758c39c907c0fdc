"""The configs of diffusion autoencoders are the published networks."""

import pytest

from tests.configs.test_configs import on_meta_device

EXPRESSION = 2 * 12_928 * (10 + 1) + 10  # a scale and a shift of all channels from ten numbers, and the null code


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("fit_diffae_ffhq64.yaml", 90_839_235),
        ("fit_diffae_ffhq128.yaml", 128_545_155),
        ("fit_diffae_ffhq256.yaml", 168_492_291),
        ("fit_expression_ddim_256.yaml", 168_492_291 + EXPRESSION),
    ],
)
def test_full_size_models_are_the_published_networks(name, parameters):
    assert sum(p.numel() for p in on_meta_device(name).parameters()) == parameters
