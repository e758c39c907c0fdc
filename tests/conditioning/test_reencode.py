import torch

from diffrig_emo.conditioning.reencode import reencode
from diffrig_emo.morphable.base import MorphableEncoder
from diffrig_emo.structures import FaceCodes, FaceCrop


class MeanColour(MorphableEncoder):
    """Reads the mean of the crop's red channel as its shape."""

    space = "s"
    image_size = 24

    def forward(self, crop: FaceCrop) -> FaceCodes:
        assert crop.image.shape[2:] == (24, 24)
        codes = FaceCodes.zeros(len(crop.image), n_shape=1, n_tex=1, n_exp=1, space="s")
        return codes.replace(shape=crop.image[:, :1].mean((2, 3)), tform=crop.tform)


def test_the_picture_is_taken_whole_and_gradients_reach_it():
    image = torch.rand(2, 3, 48, 48, requires_grad=True)
    codes = reencode(MeanColour(), image)
    torch.testing.assert_close(codes.shape[:, 0], image[:, 0].mean((1, 2)), atol=1e-3, rtol=0)
    codes.shape.sum().backward()
    assert image.grad[:, 0].abs().min() > 0


def test_codes_of_a_crop_see_that_crop_alone():
    image = torch.zeros(1, 3, 48, 48)
    image[:, :, 12:36, 12:36] = 0.75
    tform = torch.tensor([[[1.0, 0.0, -12.0], [0.0, 1.0, -12.0], [0.0, 0.0, 1.0]]])
    codes = reencode(MeanColour(), image, tform)
    torch.testing.assert_close(codes.shape, torch.tensor([[0.75]]))
    assert torch.equal(codes.tform, tform)
