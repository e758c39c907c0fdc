import numpy as np
import torch
from skimage.transform import resize

from diffrig_emo.transforms.resizing import resize_picture


def test_it_is_scikit_images_resize_and_keeps_what_has_the_size():
    image = torch.rand(3, 24, 30)
    expected = resize(image.numpy().transpose(1, 2, 0).astype(np.float64), (10, 40), anti_aliasing=True)
    torch.testing.assert_close(
        resize_picture(image, (10, 40)).double(), torch.from_numpy(expected).permute(2, 0, 1), atol=1e-6, rtol=0
    )
    assert resize_picture(image, (24, 30)) is image
