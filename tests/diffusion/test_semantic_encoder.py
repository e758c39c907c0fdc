import pytest
import torch

from diffrig_emo.diffusion import SemanticEncoder


def small(**settings):
    return SemanticEncoder(
        **{"image_size": 16, "base_channels": 16, "channel_mult": (1, 2), "attention_resolutions": (8,), "dim": 12}
        | settings
    )


def test_one_code_per_picture_which_sees_its_own_alone():
    encoder, image = small(), torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        together = encoder(image)
        assert together.shape == (3, 12)
        alone = torch.cat([encoder(image[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_learns_but_what_the_zero_start_of_attention_holds_back():
    encoder = small()
    encoder(torch.randn(2, 3, 16, 16)).square().sum().backward()
    silent = {name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()}
    assert silent
    assert all("attention" in name for name in silent)


def test_inputs_are_not_written_to():
    encoder, image = small(), torch.randn(2, 3, 16, 16)
    kept = image.clone()
    with torch.no_grad():
        encoder(image)
    assert torch.equal(image, kept)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 18, "channel_mult": (1, 1, 2)}, "18 cannot be halved 2 times: use a multiple of 4"),
        ({"attention_resolutions": (4,)}, r"attention_resolutions \[4\]: .* they are \[16, 8\]"),
        ({"dim": 0}, "dim=0"),
        ({"channel_mult": ()}, r"widths=\[\]"),
        ({"num_res_blocks": 0}, "num_res_blocks=0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        small(**settings)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"built for pictures of \(batch, 3, 16, 16\), got \(2, 3, 32, 32\)"):
        small()(torch.zeros(2, 3, 32, 32))


def test_the_gain_spreads_codes_at_the_start_and_nothing_else():
    made = []
    for gain in (1.0, 20.0):
        torch.manual_seed(0)
        made.append(small(code_gain=gain).eval())
    image = torch.rand(4, 3, 16, 16) * 2 - 1
    plain, wide = (encoder(image) - encoder.head_linear.bias for encoder in made)
    torch.testing.assert_close(wide, 20 * plain)
