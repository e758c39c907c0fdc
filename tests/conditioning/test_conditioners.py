import torch
from torch import nn

from diffrig_emo.conditioning import BufferConditioner, GlobalCodeConditioner
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.structures import Conditioning
from tests.fakes import FakeHead, FakeTexture, fake_codes


class Mean(nn.Module):
    def forward(self, image):
        return image.mean((2, 3))


def test_buffers_come_in_their_order():
    conditioner = BufferConditioner(FakeHead(), FakeTexture(), BufferRenderer(16))
    codes = fake_codes(2)
    spatial = conditioner({"codes": codes}).spatial
    buffers = conditioner.render(codes)
    assert torch.equal(spatial[:, :3], buffers.rendered)
    assert torch.equal(spatial[:, 3:6], buffers.normal)
    assert torch.equal(spatial[:, 6:], buffers.albedo)


def test_the_encoder_sees_signed_pictures():
    image = torch.rand(2, 3, 8, 8)
    vectors = GlobalCodeConditioner(Mean(), name="mean")({"image": image}).vectors
    torch.testing.assert_close(vectors["mean"], image.mean((2, 3)) * 2 - 1)


def test_they_merge():
    image, codes = torch.rand(2, 3, 16, 16), fake_codes(2)
    parts = [BufferConditioner(FakeHead(), FakeTexture(), BufferRenderer(16)), GlobalCodeConditioner(Mean())]
    merged = Conditioning.merge([part({"image": image, "codes": codes}) for part in parts])
    assert merged.spatial.shape == (2, 9, 16, 16)
    assert merged.vectors["global"].shape == (2, 3)
    assert not BufferConditioner(FakeHead(), FakeTexture(), BufferRenderer(16)).state_dict()
