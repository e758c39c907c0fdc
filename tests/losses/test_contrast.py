import pytest
import torch

from diffrig_emo.losses import SceneContrast


def test_what_is_shared_counts_once_and_what_differs_by_its_weight():
    torch.manual_seed(0)
    error = torch.randn(6, 3, 4, dtype=torch.float64)
    scenes = error.view(2, 3, 3, 4)
    mean = scenes.mean(dim=1, keepdim=True)
    expected = (mean.square().expand_as(scenes) + 9 * (scenes - mean).square()).sum()
    stretched = SceneContrast(faces_per_scene=3, weight=9.0).stretch(error)
    torch.testing.assert_close(stretched.square().sum(), expected)
    torch.testing.assert_close(SceneContrast(3, 1.0).stretch(error), error)


def test_draws_are_those_of_the_scene():
    contrast = SceneContrast(faces_per_scene=2)
    assert contrast.share(torch.tensor([5, 7])).tolist() == [5, 5, 7, 7]
    assert contrast.scenes(6) == 3
    with pytest.raises(ValueError, match="batch of 5 faces"):
        contrast.scenes(5)


@pytest.mark.parametrize("settings", [{"faces_per_scene": 1}, {"weight": 0.0}])
def test_numbers_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="SceneContrast"):
        SceneContrast(**settings)
