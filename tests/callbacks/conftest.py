"""A small diffusion model on fake faces, and a trainer that leaves its files in a folder."""

import lightning as L
import pytest
import torch

from diffrig_emo.conditioning import BufferConditioner, GlobalCodeConditioner
from diffrig_emo.diffusion import ConditionedUNet, CosineSchedule, VectorModulation
from diffrig_emo.modules import FaceDiffusion
from diffrig_emo.renderer import BufferRenderer
from tests.fakes import FakeHead, FakeTexture


class MeanColour(torch.nn.Module):
    """The mean colour of a picture, as its code."""

    def forward(self, image):
        return image.mean(dim=(2, 3))


@pytest.fixture
def make_rig():
    """A rig that looks at buffers and at the mean colour, or at the colour alone."""

    def make(buffers=True):
        torch.manual_seed(0)
        unet = ConditionedUNet(
            image_size=16,
            base_channels=32,
            channel_mult=[1],
            num_res_blocks=1,
            attention_resolutions=[],
            spatial_channels=9 if buffers else 0,
            vectors=[VectorModulation("global", 3)],
        )
        # The published initialisation is zero at the end: nothing would be painted, whatever the conditions.
        for parameter in unet.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        conditioners = [GlobalCodeConditioner(MeanColour())]
        if buffers:
            conditioners.append(BufferConditioner(FakeHead(), FakeTexture(), BufferRenderer(16)))
        return FaceDiffusion(unet, conditioners, CosineSchedule(), num_inference_steps=2)

    return make


@pytest.fixture
def make_trainer(tmp_path):
    def make(*callbacks, **options):
        defaults = {
            "max_steps": 2,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": tmp_path,
        }
        return L.Trainer(callbacks=list(callbacks), **{**defaults, **options})

    return make
