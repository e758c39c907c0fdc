import pytest
import torch

from diffrig_emo.losses import MinSNRWeighting, P2Weighting
from diffrig_emo.losses.functional import denoising_loss, min_snr_weight, p2_weight

LEVELS = torch.tensor([1e-9, 1e-4, 0.08, 0.5, 0.9, 0.9999], dtype=torch.float64)
SNR = LEVELS / (1 - LEVELS)


@pytest.mark.parametrize("weight", [p2_weight, min_snr_weight, lambda *a, **k: p2_weight(*a, gamma=0.5, k=2.0, **k)])
def test_the_objective_does_not_depend_on_what_is_predicted(weight):
    generator = torch.Generator().manual_seed(0)
    x_0, eps, guess = torch.randn(3, len(LEVELS), 50, generator=generator, dtype=torch.float64)
    alpha, sigma = LEVELS.sqrt()[:, None], (1 - LEVELS).sqrt()[:, None]
    x_t = alpha * x_0 + sigma * eps
    guessed_eps = (x_t - alpha * guess) / sigma
    pairs = {
        "eps": (guessed_eps, eps),
        "x_0": (guess, x_0),
        "v": (alpha * guessed_eps - sigma * guess, alpha * eps - sigma * x_0),
    }
    losses = {kind: denoising_loss(*pair, weight(SNR, prediction_type=kind)) for kind, pair in pairs.items()}
    torch.testing.assert_close(losses["v"], losses["eps"], rtol=1e-6, atol=0)
    torch.testing.assert_close(losses["x_0"], losses["eps"], rtol=1e-6, atol=0)


def test_min_snr_is_the_papers_for_each_prediction():
    capped = SNR.clamp(max=5.0)
    torch.testing.assert_close(min_snr_weight(SNR, 5.0, "x_0"), capped)
    torch.testing.assert_close(min_snr_weight(SNR, 5.0, "eps"), capped / SNR)
    torch.testing.assert_close(min_snr_weight(SNR, 5.0, "v"), capped / (SNR + 1))
    assert min_snr_weight(torch.zeros(1)).item() == 1.0


def test_p2_with_diffusionrigs_settings_is_the_noise_variance():
    torch.testing.assert_close(p2_weight(SNR), 1 - LEVELS)


def test_denoising_loss_is_a_mean_per_sample_and_never_broadcasts():
    prediction = torch.stack([torch.full((3, 4, 4), 2.0), torch.zeros(3, 4, 4)])
    assert denoising_loss(prediction, torch.zeros(2, 3, 4, 4)).tolist() == [4.0, 0.0]
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\), but target \(1, 3, 4, 4\)"):
        denoising_loss(prediction, torch.zeros(1, 3, 4, 4))


def test_unknown_prediction_type_is_named():
    with pytest.raises(ValueError, match="'epsilon'"):
        p2_weight(SNR, prediction_type="epsilon")


def test_modules_are_the_functions():
    assert torch.equal(P2Weighting(0.5, 2.0)(SNR, "v"), p2_weight(SNR, 0.5, 2.0, "v"))
    assert torch.equal(MinSNRWeighting(3.0)(SNR, "v"), min_snr_weight(SNR, 3.0, "v"))


@pytest.mark.parametrize("build", [lambda: P2Weighting(gamma=-1), lambda: P2Weighting(k=0), lambda: MinSNRWeighting(0)])
def test_modules_refuse_settings_without_meaning(build):
    with pytest.raises(ValueError, match="gamma"):
        build()
