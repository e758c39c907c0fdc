"""What edits leave as it is, against scikit-image and scipy on the pixels that count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from skimage.metrics import peak_signal_noise_ratio

from diffrig_emo.metrics import BackgroundPreservation
from diffrig_emo.metrics.functional import background_preservation, l1


@pytest.fixture
def edit():
    """Three edits of noisy pictures, their sources, and the region of the face."""
    generator = torch.Generator().manual_seed(6)
    source = torch.rand(3, 3, 14, 18, generator=generator, dtype=torch.float64)
    pred = (source + 0.05 * torch.randn(source.shape, generator=generator, dtype=torch.float64)).clamp(0, 1)
    region = torch.zeros(3, 1, 14, 18, dtype=torch.bool)
    region[0, :, 4:9, 5:11] = True
    region[1, :, 0:3, 0:4] = True
    region[2, :, 7, 7] = True
    return pred, source, region


def test_l1_is_numpys_mean(edit):
    pred, source, region = edit
    wanted = np.abs(pred.numpy() - source.numpy())
    np.testing.assert_allclose(l1(pred, source).numpy(), wanted.mean(axis=(1, 2, 3)), rtol=1e-12)
    for i, value in enumerate(l1(pred, source, region)):
        assert value.item() == pytest.approx(wanted[i][:, region[i, 0].numpy()].mean(), rel=1e-12)
    assert l1(pred, source, torch.zeros_like(region)).isnan().all()


@pytest.mark.parametrize("margin", [0, 1, 3])
def test_figures_are_those_of_the_pixels_outside_the_grown_region(edit, margin):
    pred, source, region = edit
    figures = background_preservation(pred, source, region, margin)
    square = np.ones((2 * margin + 1, 2 * margin + 1))
    for i in range(3):
        outside = ~binary_dilation(region[i, 0].numpy(), square)
        kept = source[i].numpy()[:, outside], pred[i].numpy()[:, outside]
        wanted = peak_signal_noise_ratio(*kept, data_range=1.0)
        assert figures["psnr"][i].item() == pytest.approx(wanted, rel=1e-12)
        assert figures["l1"][i].item() == pytest.approx(np.abs(kept[0] - kept[1]).mean(), rel=1e-12)


def test_the_region_itself_does_not_count(edit):
    pred, source, region = edit
    inside = torch.where(region, pred, source)
    figures = background_preservation(inside, source, region)
    assert figures["psnr"].isinf().all()
    assert (figures["l1"] == 0).all()


def test_pictures_that_the_region_fills_do_not_count(edit):
    pred, source, region = edit
    full = region.clone()
    full[1] = True
    metric, without = BackgroundPreservation(margin=1), BackgroundPreservation(margin=1)
    metric.update(pred, source, full)
    without.update(pred[[0, 2]], source[[0, 2]], region[[0, 2]])
    assert metric.compute() == without.compute()


def test_bad_input_is_named(edit):
    pred, source, region = edit
    with pytest.raises(ValueError, match="margin: expected a number of pixels, 0 or more, got -1"):
        background_preservation(pred, source, region, margin=-1)
    with pytest.raises(ValueError, match=r"region: expected shape \(3, 1, 14, 18\), got \(3, 14, 18\)"):
        background_preservation(pred, source, region[:, 0])
    with pytest.raises(ValueError, match=r"source: expected a picture in \[0, 1\]"):
        background_preservation(pred, 255 * source, region)
