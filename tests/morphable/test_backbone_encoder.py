import torch

from diffrig_emo.morphable import BackboneEncoder, SyntheticHead, SyntheticTexture
from diffrig_emo.structures import FaceCrop


def test_an_untrained_encoder_describes_a_face_that_can_be_drawn():
    head, texture = SyntheticHead(), SyntheticTexture()
    encoder = BackboneEncoder("resnet10t", image_size=32).eval()
    codes = encoder(FaceCrop(image=torch.rand(2, 3, 32, 32)))
    sizes = (codes.shape.shape[1], codes.tex.shape[1], codes.exp.shape[1])
    assert sizes == (head.n_shape, texture.n_tex, head.n_exp)
    assert codes.shape.abs().max() < 1
    assert (codes.cam[:, 0] - 8).abs().max() < 2
    assert head(codes).vertices.isfinite().all()


def test_tform_of_the_crop_travels_with_the_codes():
    tform = torch.eye(3).expand(2, 3, 3)
    codes = BackboneEncoder("resnet10t", image_size=32).eval()(FaceCrop(image=torch.rand(2, 3, 32, 32), tform=tform))
    assert torch.equal(codes.tform, tform)
