import lightning as L
import torch

from diffrig_emo.diffusion import TimmGlobalEncoder
from diffrig_emo.modules import GlobalEncoder
from tests.fakes import FakeFacesDataModule


def test_predict_gives_a_code_per_face(tmp_path):
    module = GlobalEncoder(TimmGlobalEncoder("resnet10t", 4))
    run = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    data = FakeFacesDataModule()
    codes = torch.cat(run.predict(module, data))
    assert codes.shape == (8, 4)
    module.eval()
    expected = module.encoder(data.predict_dataset.image * 2 - 1)
    torch.testing.assert_close(codes, expected, atol=1e-5, rtol=1e-4)
