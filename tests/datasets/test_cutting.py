"""Aligned pictures are cut by their map alone."""

import pytest
import torch
from skimage.transform import resize

from diffrig_emo.datasets.cutting import centre_window, cut_aligned, window_tform
from diffrig_emo.transforms.alignment import cut_ffhq


@pytest.fixture(scope="module")
def photo():
    return (torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(0)) * 255).round() / 255


@pytest.mark.parametrize(("left", "top", "side", "size"), [(20, 0, 60, 32), (3, 7, 41, 100), (0, 0, 1, 5)])
def test_windows_of_whole_pixels_are_resized(photo, left, top, side, size):
    picture = cut_aligned(photo, window_tform(left, top, side, size), size)
    window = photo[:, top : top + side, left : left + side].permute(1, 2, 0).numpy()
    expected = torch.from_numpy(resize(window, (size, size), anti_aliasing=True)).permute(2, 0, 1)
    torch.testing.assert_close(picture, expected, atol=1e-5, rtol=0)
    assert torch.equal(cut_aligned(photo, centre_window(60, 80, 60), 60), photo[:, :, 10:70])


@pytest.mark.parametrize(("left", "top", "side"), [(20.5, 3, 40), (-8, 3, 40), (50, 3, 40), (3, 30, 40)])
def test_other_squares_are_cut_as_ffhq_cuts_them(photo, left, top, side):
    tform = window_tform(left, top, side, 24)
    assert torch.equal(cut_aligned(photo, tform, 24), cut_ffhq(photo, tform, 24, 96))


def test_a_square_elsewhere_is_named(photo):
    with pytest.raises(ValueError, match="expected a square in the photo of 80x60 pixels"):
        cut_aligned(photo, window_tform(200, 3, 40, 24), 24)
    with pytest.raises(ValueError, match="invertible"):
        cut_aligned(photo, torch.zeros(3, 3), 24)
    with pytest.raises(ValueError, match="invertible"):
        cut_aligned(photo, torch.full((3, 3), torch.nan), 24)
