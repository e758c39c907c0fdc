"""PSNR and SSIM against scikit-image and torchmetrics, regions against hand-made pictures."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import structural_similarity_index_measure

from diffrig_emo.metrics import EditQuality, MaskedPSNR, MaskedSSIM
from diffrig_emo.metrics.functional import changed_mask, edit_regions, psnr, ssim
from diffrig_emo.metrics.image import REGIONS


@pytest.fixture
def pictures():
    """Four smooth pictures, float64, and noisy versions of them, not square."""
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(4, 3, 6, 5, generator=generator, dtype=torch.float64)
    target = torch.nn.functional.interpolate(coarse, size=(40, 33), mode="bilinear")
    noise = torch.randn(target.shape, generator=generator, dtype=torch.float64)
    return (target + 0.1 * noise).clamp(0, 1), target


@pytest.fixture
def mask(pictures):
    return torch.rand(4, 1, *pictures[0].shape[2:], generator=torch.Generator().manual_seed(2)) > 0.6


def _skimage_ssim_map(pred, target):
    _, full = structural_similarity(
        pred.numpy(),
        target.numpy(),
        channel_axis=0,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    return torch.from_numpy(full)


def test_psnr_is_skimages(pictures):
    pred, target = pictures
    wanted = [peak_signal_noise_ratio(t.numpy(), p.numpy(), data_range=1.0) for p, t in zip(pred, target, strict=True)]
    assert psnr(pred, target).tolist() == pytest.approx(wanted, rel=1e-12)


def test_masked_psnr_is_skimages_on_the_masked_pixels(pictures, mask):
    pred, target = pictures
    values = psnr(pred, target, mask)
    for p, t, m, value in zip(pred, target, mask, values, strict=True):
        wanted = peak_signal_noise_ratio(t[:, m[0]].numpy(), p[:, m[0]].numpy(), data_range=1.0)
        assert value.item() == pytest.approx(wanted, rel=1e-12)


def test_psnr_of_equal_pictures_is_infinite(pictures):
    assert psnr(pictures[1], pictures[1]).tolist() == [math.inf] * 4


def test_ssim_is_skimages(pictures):
    pred, target = pictures
    wanted = [_skimage_ssim_map(p, t)[:, 5:-5, 5:-5].mean().item() for p, t in zip(pred, target, strict=True)]
    assert ssim(pred, target).tolist() == pytest.approx(wanted, rel=1e-9)


def test_ssim_is_torchmetrics_without_its_reflected_border(pictures):
    pred, target = pictures
    _, full = structural_similarity_index_measure(pred, target, data_range=1.0, return_full_image=True)
    torch.testing.assert_close(ssim(pred, target), full[..., 5:-5, 5:-5].flatten(1).mean(1), rtol=0, atol=1e-9)


def test_masked_ssim_averages_skimages_map(pictures, mask):
    pred, target = pictures
    for i, value in enumerate(ssim(pred, target, mask)):
        inner = mask[i, 0, 5:-5, 5:-5]
        wanted = _skimage_ssim_map(pred[i], target[i])[:, 5:-5, 5:-5][:, inner].mean()
        assert value.item() == pytest.approx(wanted.item(), rel=1e-9)


@pytest.mark.parametrize("figure", [psnr, ssim])
def test_number_masks_equal_boolean_ones(figure, pictures, mask):
    torch.testing.assert_close(figure(*pictures, mask.float()), figure(*pictures, mask))


@pytest.mark.parametrize("figure", [psnr, ssim])
def test_gradients_reach_the_prediction(figure, pictures):
    pred, target = pictures
    pred = pred[:1, :, :16, :16].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: figure(p, target[:1, :, :16, :16]), pred, fast_mode=True)


@pytest.mark.parametrize(("metric", "figure"), [(MaskedPSNR, psnr), (MaskedSSIM, ssim)])
def test_batches_do_not_change_the_mean(metric, figure, pictures, mask):
    accumulated = metric()
    for part in (slice(0, 3), slice(3, 4)):
        accumulated.update(pictures[0][part], pictures[1][part], mask[part])
    torch.testing.assert_close(accumulated.compute().double(), figure(*pictures, mask).mean(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("metric", [MaskedPSNR, MaskedSSIM])
def test_pictures_with_an_empty_mask_do_not_count(metric, pictures, mask):
    mask = mask.clone()
    mask[1] = False
    some, without = metric(), metric()
    some.update(*pictures, mask)
    kept = [0, 2, 3]
    without.update(pictures[0][kept], pictures[1][kept], mask[kept])
    assert some.compute() == without.compute()


@pytest.mark.parametrize("metric", [MaskedPSNR, MaskedSSIM])
def test_no_pixel_anywhere_gives_nan(metric, pictures, mask):
    accumulated = metric()
    accumulated.update(*pictures, torch.zeros_like(mask))
    assert accumulated.compute().isnan()


def test_changed_mask_takes_any_channel_and_both_signs():
    source = torch.full((1, 3, 2, 2), 0.5)
    target = source.clone()
    target[0, 0, 0, 0] += 9 / 255
    target[0, 2, 0, 1] -= 9 / 255
    target[0, 1, 1, 0] += 7 / 255
    assert changed_mask(source, target).tolist() == [[[[True, True], [False, False]]]]
    assert changed_mask(source, target, threshold=6 / 255).sum() == 3


def test_regions_partition_the_picture(pictures, mask):
    pred, target = pictures
    regions = edit_regions(pred, target, mask)
    assert tuple(regions) == REGIONS
    assert regions["whole"].all()
    assert torch.equal(regions["face"], mask)
    covered = (regions["face"] | regions["changed"]).int() + regions["rest"].int()
    assert (covered == 1).all()


def test_edit_quality_is_the_figures_over_the_regions(pictures, mask):
    pred, target = pictures
    # A source that differs from the true edit in one half only, so that every region has pixels.
    source = target.clone()
    source[..., :20, :] = 1 - source[..., :20, :]
    quality = EditQuality()
    quality.update(pred[:3], target[:3], source[:3], mask[:3])
    quality.update(pred[3:], target[3:], source[3:], mask[3:])
    values = quality.compute()
    changed = ((source - target).abs() > 8 / 255).any(1, keepdim=True)
    assert values["psnr_changed"].item() == pytest.approx(psnr(pred, target, changed).mean().item(), rel=1e-6)
    assert values["ssim_rest"].item() == pytest.approx(ssim(pred, target, ~(changed | mask)).mean().item(), rel=1e-5)
    assert values["psnr_face"].item() == pytest.approx(psnr(pred, target, mask).mean().item(), rel=1e-6)
    assert values["psnr_whole"].item() == pytest.approx(psnr(pred, target).mean().item(), rel=1e-6)


def test_edit_quality_skips_regions_without_pixels(pictures, mask):
    pred, target = pictures
    quality = EditQuality()
    quality.update(pred, target, target, mask)
    values = quality.compute()
    assert values["psnr_changed"].isnan()
    assert values["ssim_changed"].isnan()
    assert values["psnr_rest"].isfinite()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pred": torch.rand(2, 3, 16, 16) * 2 - 1}, r"pred: expected a picture in \[0, 1\].*to_unit"),
        ({"target": torch.rand(2, 3, 16, 16) * 255}, r"target: expected a picture in \[0, 1\]"),
        ({"pred": torch.full((2, 3, 16, 16), float("nan"))}, r"pred: expected a picture in \[0, 1\]"),
        ({"pred": torch.rand(2, 3, 16, 17)}, "expected equal shapes"),
        ({"pred": torch.rand(3, 16, 16)}, r"pred: expected a float tensor of shape \(batch, 3, height, width\)"),
        ({"pred": torch.zeros(2, 3, 16, 16, dtype=torch.uint8)}, "pred: expected a float tensor.*uint8"),
        ({"pred": torch.rand(0, 3, 16, 16), "target": torch.rand(0, 3, 16, 16)}, "pred: expected at least one"),
        ({"mask": torch.ones(2, 16, 16)}, r"mask: expected shape \(2, 1, 16, 16\), got \(2, 16, 16\)"),
    ],
)
@pytest.mark.parametrize("figure", [psnr, ssim])
def test_bad_input_is_named(figure, changes, message):
    given = {"pred": torch.rand(2, 3, 16, 16), "target": torch.rand(2, 3, 16, 16), **changes}
    with pytest.raises(ValueError, match=message):
        figure(**given)


def test_ssim_names_its_least_size():
    with pytest.raises(ValueError, match="at least 11 x 11 pixels, got 10 x 64"):
        ssim(torch.rand(1, 3, 10, 64), torch.rand(1, 3, 10, 64))


def test_edit_quality_refuses_a_threshold_in_grey_levels():
    with pytest.raises(ValueError, match=r"threshold: expected a channel difference in \[0, 1\), got 8"):
        EditQuality(threshold=8)


def test_half_a_picture_right_costs_three_decibels():
    target = np.full((1, 3, 16, 16), 0.5)
    pred = target + 0.1
    half = pred.copy()
    half[..., :8] = 0.5
    both = psnr(*(torch.from_numpy(p) for p in (half, target))), psnr(*(torch.from_numpy(p) for p in (pred, target)))
    assert (both[0] - both[1]).item() == pytest.approx(10 * math.log10(2))
