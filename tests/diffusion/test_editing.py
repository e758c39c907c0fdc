import numpy as np
import pytest
import torch
from scipy import ndimage

from diffrig_emo.diffusion import changing, released
from diffrig_emo.structures import Conditioning


def conditions(spatial):
    return Conditioning(spatial=spatial)


def test_release_follows_the_largest_change_of_a_pixel():
    own = torch.zeros(1, 2, 1, 3)
    wanted = torch.tensor([[[[0.0, 0.2, -3.0]], [[0.0, -0.4, 0.1]]]])
    hold = released(conditions(own), conditions(wanted), 0.5)
    torch.testing.assert_close(hold, torch.tensor([[[[1.0, 0.8, 0.5]]]]))
    sharp = released(conditions(own), conditions(wanted), 1.0, sharpness=10)
    torch.testing.assert_close(sharp, torch.tensor([[[[1.0, 0.0, 0.0]]]]))
    assert released(Conditioning(), conditions(wanted), 0.5) is None


@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_border_is_scipys_dilation_and_mean(size):
    generator = torch.Generator().manual_seed(size)
    change = (torch.rand(1, 1, size, size, generator=generator) > 0.995).float()
    reach = size // 32
    window = (2 * reach + 1, 2 * reach + 1)
    grown = ndimage.grey_dilation(change[0, 0].numpy(), size=window)
    counted = ndimage.uniform_filter(np.ones_like(grown), window, mode="constant")
    share = ndimage.uniform_filter(grown, window, mode="constant") / counted
    ours = changing(conditions(0 * change), conditions(change))[0, 0]
    np.testing.assert_allclose(ours.numpy(), share, atol=1e-6)
    assert torch.equal(ours[change[0, 0] > 0], torch.ones(int(change.sum())))
    distance = ndimage.distance_transform_cdt(1 - change[0, 0].numpy(), metric="chessboard")
    assert not ours.numpy()[distance > 2 * reach].any()
    assert ours.numpy()[distance == 2 * reach].all()


def test_without_spatial_conditions_nothing_can_be_told():
    with pytest.raises(ValueError, match="blend: expected a conditioner with spatial conditions"):
        changing(Conditioning(), Conditioning())
