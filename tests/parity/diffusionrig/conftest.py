import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diffrig_emo.diffusion import (
    ConditionedUNet,
    LinearSchedule,
    ResNet18GlobalEncoder,
    ResNetGlobalEncoder,
    VectorModulation,
    load_diffusionrig,
)
from diffrig_emo.structures import Conditioning

HERE = Path(__file__).parent


@dataclasses.dataclass
class Rig:
    unet: ConditionedUNet
    encoder: ResNetGlobalEncoder

    def denoiser(self, physic: Tensor, code: Tensor):
        conditioning = Conditioning(spatial=physic, vectors={"global": code})
        return lambda x_t, t: self.unet(x_t, t, conditioning)


def filled_state(fill, keys: str) -> dict[str, Tensor]:
    shapes = json.loads((HERE / keys).read_text())
    return {name: torch.from_numpy(value) for name, value in fill.fill_state(shapes).items()}


def build_small(fill, required: bool = True) -> Rig:
    unet = ConditionedUNet(
        spatial_channels=9,
        vectors=[VectorModulation("global", 64, required=required)],
        image_size=64,
        base_channels=32,
        channel_mult=(1, 2, 3, 4),
        attention_resolutions=(16,),
    )
    rig = Rig(unet, ResNet18GlobalEncoder(64))
    load_diffusionrig(filled_state(fill, "keys_small.json"), rig.unet, rig.encoder)
    return rig


@pytest.fixture(scope="session")
def numbers():
    return lambda name: dict(np.load(HERE / name))


@pytest.fixture(scope="session")
def uniform(fill):
    return lambda tag, *shape: torch.from_numpy(fill.seeded_array(f"open/rig/{tag}", shape))


@pytest.fixture(scope="session")
def normal(fill):
    return lambda tag, *shape: torch.from_numpy(fill.seeded_normal(f"open/rig/{tag}", shape))


@pytest.fixture(scope="session")
def official_small(fill):
    return filled_state(fill, "keys_small.json")


@pytest.fixture(scope="session")
def small(fill) -> Rig:
    rig = build_small(fill, required=False)
    rig.unet.eval()
    rig.encoder.eval()
    return rig


@pytest.fixture
def fresh_small(fill) -> Rig:
    """The same weights, to be trained."""
    return build_small(fill)


@pytest.fixture(scope="session")
def schedule() -> LinearSchedule:
    return LinearSchedule()


@pytest.fixture(scope="session")
def conditions(small, uniform) -> tuple[Tensor, Tensor]:
    """Physical condition and global code of the two reference faces."""
    with torch.no_grad():
        code = small.encoder(uniform("small/image", 2, 3, 64, 64))
    return uniform("small/physic", 2, 9, 64, 64), code


@pytest.fixture(scope="session")
def official_256(fill):
    return filled_state(fill, "keys_256_resnet18.json")


@pytest.fixture(scope="session")
def official_256_resnet50_encoder(fill):
    shapes = json.loads((HERE / "keys_256_resnet50.json").read_text())
    wanted = {name: shape for name, shape in shapes.items() if name.startswith("encoder.")}
    return {name: torch.from_numpy(value) for name, value in fill.fill_state(wanted).items()}
