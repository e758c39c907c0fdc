import math

import pytest
import torch

from diffrig_emo.diffusion import CELEBA_ATTRIBUTES, CodeNormalization, LatentMLP, SemanticDirections, slerp


def test_normalised_codes_have_mean_zero_and_deviation_one():
    codes = 3 * torch.randn(50, 7) + torch.arange(7)
    normalization = CodeNormalization(7)
    normalization.learn(codes)
    z = normalization(codes)
    torch.testing.assert_close(z.mean(dim=0), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(z.var(dim=0, unbiased=True), torch.ones(7))
    torch.testing.assert_close(normalization.invert(z), codes)


def test_a_component_that_never_changes_stays_finite():
    codes = torch.cat([torch.randn(9, 1), torch.ones(9, 1)], dim=1)
    normalization = CodeNormalization(2)
    normalization.learn(codes)
    assert normalization(codes).isfinite().all()


@pytest.mark.parametrize("codes", [torch.zeros(1, 4), torch.full((3, 4), torch.nan), torch.zeros(3, 5)])
def test_codes_that_give_no_statistics_are_refused(codes):
    with pytest.raises(ValueError, match="expected"):
        CodeNormalization(4).learn(codes)


def test_moving_raises_the_logit_by_strength_times_the_rows_length():
    directions = SemanticDirections(16, ["a", "b"])
    directions.normalization.learn(torch.randn(30, 16) * 2 + 1)
    z = torch.randn(3, 16)
    with torch.no_grad():
        gain = directions(directions.move(z, "B", 0.5)) - directions(z)
        length = directions.linear.weight[1].norm()
    torch.testing.assert_close(gain[:, 1], (0.5 * 4 * length).expand(3))
    back = directions.move(directions.move(z, "b", 0.5), "b", -0.5)
    torch.testing.assert_close(back, z, atol=1e-5, rtol=1e-5)


def test_unknown_directions_and_codes_of_another_size_are_named():
    directions = SemanticDirections(4, ["happy", "sad"])
    with pytest.raises(ValueError, match="expected one of happy, sad, got 'glad'"):
        directions.move(torch.zeros(1, 4), "glad", 1.0)
    with pytest.raises(ValueError, match=r"codes of \(batch, 4\), got \(1, 5\)"):
        directions(torch.zeros(1, 5))
    with pytest.raises(ValueError, match="different names"):
        SemanticDirections(4, ["a", "a"])


def test_there_are_forty_attributes_in_the_order_of_the_files():
    assert len(CELEBA_ATTRIBUTES) == len(set(CELEBA_ATTRIBUTES)) == 40
    assert (CELEBA_ATTRIBUTES[20], CELEBA_ATTRIBUTES[31], CELEBA_ATTRIBUTES[39]) == ("Male", "Smiling", "Young")


def test_slerp_walks_the_arc_at_even_pace():
    a, b = torch.randn(2, 3, 3, 8, 8, dtype=torch.float64)
    a, b = (x / x.flatten(1).norm(dim=1).view(-1, 1, 1, 1) for x in (a, b))
    whole = (a * b).flatten(1).sum(dim=1).acos()
    for share in (0.0, 0.25, 0.5, 1.0):
        between = slerp(a, b, share)
        torch.testing.assert_close(between.flatten(1).norm(dim=1), torch.ones(3, dtype=torch.float64))
        angle = (a * between).flatten(1).sum(dim=1).clamp(-1, 1).acos()
        torch.testing.assert_close(angle, share * whole, atol=1e-6, rtol=1e-6)
    each = slerp(a, b, torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(each[0], a[0])
    torch.testing.assert_close(each[2], b[2])


def test_slerp_of_one_noise_with_itself_or_its_negative_is_finite():
    x = torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(slerp(x, x, 0.3), x)
    assert slerp(x, -x, 0.3).isfinite().all()


def test_a_layer_is_the_formula():
    network = LatentMLP(dim=4, hidden_dim=6, num_layers=3, sinusoid_dim=8).double()
    z_t, t = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 10, 500, 998, 999])
    with torch.no_grad():
        c = torch.nn.functional.silu(network.time_embed(t))
        h = z_t
        for i, layer in enumerate(network.layers):
            x = (h if i == 0 else torch.cat([h, z_t], 1)) @ layer.linear.weight.T + layer.linear.bias
            x = x * (1 + c @ layer.time.weight.T + layer.time.bias)
            x = (x - x.mean(1, keepdim=True)) / (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
            h = x * torch.sigmoid(x)  # the norm's own scale and shift are 1 and 0 at first
        expected = torch.cat([h, z_t], 1) @ network.head.weight.T + network.head.bias
        torch.testing.assert_close(network(z_t, t), expected)


def test_weights_start_as_kaiming_s():
    layer = LatentMLP(dim=256, hidden_dim=512, num_layers=2).layers[0]
    assert math.isclose(layer.linear.weight.std().item(), (2 / 256) ** 0.5, rel_tol=0.02)
    assert math.isclose(layer.time.weight.std().item(), (2 / 256) ** 0.5, rel_tol=0.02)


def test_bad_sizes_are_named():
    with pytest.raises(ValueError, match="num_layers=1"):
        LatentMLP(num_layers=1)
    with pytest.raises(ValueError, match=r"codes of \(batch, 4\), got \(2, 5\)"):
        LatentMLP(dim=4, hidden_dim=4)(torch.zeros(2, 5), torch.zeros(2, dtype=torch.long))
