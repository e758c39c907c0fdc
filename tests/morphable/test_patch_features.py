import pytest
import torch
from torch.nn import functional as F

from diffrig_emo.morphable import PatchFeatures, fit_patches
from diffrig_emo.synthesis import SyntheticFaces


@pytest.fixture(scope="module")
def images():
    return (next(SyntheticFaces(24, 32, 3).batches(24))["image"] * 255).round().to(torch.uint8)


def test_signed_responses_are_white_where_they_were_learned(images):
    features = PatchFeatures(n_filters=6, size=3)
    fit_patches(features, images, ridge=0.0)
    # The patches that were learned from are the inner places of a grid of 3: other margins are not seen there.
    maps = features(images.float() / 255)
    signed = (maps[:, :6] - maps[:, 6:])[:, :, 1:-1:3, 1:-1:3].transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(signed), torch.eye(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(signed.mean(dim=1), torch.zeros(6), atol=1e-3, rtol=0)


def test_the_filters_are_the_directions_of_most_variance(images):
    features = PatchFeatures(n_filters=4, size=3)
    fit_patches(features, images, ridge=0.0)
    patches = F.unfold(images.float() / 255, 3, stride=3).transpose(1, 2).flatten(0, 1).double()
    centred = patches - patches.mean(dim=0)
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    found = F.normalize(features.filters.flatten(1).double(), dim=1)
    torch.testing.assert_close((found * directions[:4]).sum(dim=1).abs(), torch.ones(4).double(), atol=1e-4, rtol=0)
    assert (singular[:-1] >= singular[1:]).all()


def test_an_untrained_bank_sees_nothing():
    assert not PatchFeatures()(torch.rand(1, 3, 8, 8)).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"size": 4}, "size must be odd"), ({"n_filters": 28, "size": 3}, "n_filters must be from 1 to 27")],
)
def test_impossible_banks_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PatchFeatures(**arguments)


def test_pictures_smaller_than_a_patch_are_refused():
    with pytest.raises(ValueError, match="5 x 5 pixels or more, got"):
        fit_patches(PatchFeatures(), torch.zeros(2, 3, 4, 8, dtype=torch.uint8))
