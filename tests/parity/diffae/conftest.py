import json
from pathlib import Path

import numpy as np
import pytest
import torch

from diffrig_emo.diffusion import ConditionedUNet, SemanticEncoder, VectorModulation, load_diffae

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def numbers():
    return lambda name: dict(np.load(HERE / name))


@pytest.fixture(scope="session")
def tensor(fill):
    """Seeded inputs of the fixtures: uniform, or normal where they say so."""

    def make(tag, *shape, normal=False):
        draw = fill.seeded_normal if normal else fill.seeded_array
        return torch.from_numpy(draw(f"open/diffae/small/{tag}", shape))

    return make


@pytest.fixture(scope="session")
def official_small(fill):
    shapes = json.loads((HERE / "keys_small.json").read_text())
    return {name: torch.from_numpy(value) for name, value in fill.fill_state(shapes).items()}


@pytest.fixture(scope="session")
def small(official_small):
    """The small autoencoder of the fixtures: UNet and encoder."""
    unet = ConditionedUNet(
        vectors=[VectorModulation("semantic", 64, shift=False)],
        image_size=32,
        base_channels=32,
        channel_mult=(1, 2),
        attention_resolutions=(16,),
        dropout=0.1,
        time_embed_dim=64,
    )
    encoder = SemanticEncoder(image_size=32, base_channels=32, channel_mult=(1, 2, 2), dim=64)
    load_diffae(official_small, unet, encoder)
    return unet.eval(), encoder.eval()
