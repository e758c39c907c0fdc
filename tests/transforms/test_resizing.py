import numpy as np
import pytest
import torch
from skimage.transform import resize

from diffrig_emo.transforms.resizing import resize_picture


@pytest.mark.parametrize(
    ("before", "after"), [((24, 30), (10, 40)), ((24, 30), (7, 11)), ((600, 300), (64, 64)), ((9, 20), (33, 20))]
)
def test_it_is_scikit_images_resize(before, after):
    image = torch.rand(3, *before)
    expected = resize(image.numpy().transpose(1, 2, 0).astype(np.float64), after, anti_aliasing=True)
    resized = resize_picture(image, after)
    torch.testing.assert_close(resized.double(), torch.from_numpy(expected).permute(2, 0, 1), atol=1e-6, rtol=0)
    assert resized.is_contiguous()


def test_a_picture_of_that_size_is_kept():
    image = torch.rand(3, 24, 30)
    assert resize_picture(image, (24, 30)) is image
