import lightning as L
import pytest
import torch

from diffrig_emo.modules import FaceRenderer
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.structures import PhysicalBuffers, StructError
from tests.fakes import FakeFacesDataModule, FakeHead, FakeTexture, fake_codes


@pytest.fixture
def renderer():
    return FaceRenderer(FakeHead(), FakeTexture(), BufferRenderer(16))


def test_predict_gives_the_buffers_of_every_face(renderer, tmp_path):
    run = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    buffers = PhysicalBuffers.cat(run.predict(renderer, FakeFacesDataModule()))
    assert buffers.batch_size == 8
    assert buffers.as_condition().shape == (8, 9, 16, 16)
    assert 0.2 < buffers.mask.mean() < 0.8


def test_even_light_shows_the_albedo(renderer):
    buffers = renderer(fake_codes(3))
    torch.testing.assert_close(buffers.rendered, buffers.albedo, atol=1e-6, rtol=1e-6)


def test_codes_that_are_not_finite_are_named(renderer):
    codes = fake_codes(2)
    with pytest.raises(StructError, match=r"FaceCodes.exp.*item 1"):
        renderer.predict_step({"codes": codes.replace(exp=codes.exp * torch.tensor([[1.0], [torch.nan]]))})


def test_codes_of_another_space_are_refused(renderer):
    with pytest.raises(StructError, match="expected codes of space 'fake', got 'flame2020'"):
        renderer(fake_codes(1).replace(space="flame2020"))
