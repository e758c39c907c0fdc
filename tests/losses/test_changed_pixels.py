import torch
from scipy.ndimage import uniform_filter

from diffrig_emo.losses import change_around


def test_it_is_the_mean_change_nearby_over_the_largest():
    generator = torch.Generator().manual_seed(0)
    before, after = (torch.rand(2, 3, 16, 16, generator=generator) for _ in range(2))
    found = change_around(before, after)
    for face in range(2):
        plain = (after - before)[face].abs().mean(dim=0).double().numpy()
        around = torch.from_numpy(uniform_filter(plain, 5, mode="constant")).float()
        torch.testing.assert_close(found[face, 0], around / around.max())


def test_noise_alone_is_hardly_a_change():
    before = torch.full((1, 3, 16, 16), 0.5)
    assert change_around(before, before + 0.01).max() <= 0.1 + 1e-6
    assert change_around(before, before).abs().max() == 0
