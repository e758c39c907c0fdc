"""EMOCA's emotion networks in the official format, with seeded weights."""

from __future__ import annotations

import itertools
import json
import shutil

import pytest
import torch

from tests.parity.fake_assets import HERE, callback_class
from tests.parity.fake_assets import _tensor as seeded

CHECKPOINT = "deca-epoch=01-val_loss_total/dataloader_idx_0=1.27607644.ckpt"


def emorec_shapes():
    """Names and shapes of EMOCA-emorec."""
    widths = [153, 2048, 2048, 2048, 2048]
    shapes = {"mlp.model.12.weight": [10, 2048], "mlp.model.12.bias": [10]}
    for layer, (before, after) in enumerate(itertools.pairwise(widths)):
        shapes |= {f"mlp.model.{3 * layer}.weight": [after, before], f"mlp.model.{3 * layer}.bias": [after]}
        norm = f"mlp.model.{3 * layer + 1}"
        shapes |= {f"{norm}.{name}": [after] for name in ("weight", "bias", "running_mean", "running_var")}
        shapes[f"{norm}.num_batches_tracked"] = []
    return shapes


@pytest.fixture(scope="session")
def resnet_shapes():
    """Names and shapes of the emotion ResNet-50, as the original layers have them."""
    return json.loads((HERE / "emoca" / "keys_emotion_resnet50.json").read_text())


@pytest.fixture(scope="session")
def resnet_state(resnet_shapes):
    return {name: seeded(name, tuple(shape), True) for name, shape in resnet_shapes.items()}


@pytest.fixture(scope="session")
def emorec_state():
    return {name: seeded(name, tuple(shape), False) for name, shape in emorec_shapes().items()}


@pytest.fixture(scope="session")
def emotion_folder(tmp_path_factory, resnet_state, emorec_state):
    """A folder of both models, each with the checkpoint of another epoch beside the best one."""
    folder = tmp_path_factory.mktemp("emotion_models")
    others = {"deca.deca.E_flame.layers.2.bias": torch.zeros(3)}
    for name, state in {"ResNet50": resnet_state, "EMOCA-emorec": emorec_state | others}.items():
        path = folder / name / "checkpoints" / CHECKPOINT
        path.parent.mkdir(parents=True)
        with callback_class() as callback:
            content = {"epoch": 1, "callbacks": {callback: {"state": callback()}}, "state_dict": state}
            torch.save(content, path)
        (path.parent / "dataloader_idx_0=9.5.ckpt").write_bytes(b"the worse one")
    yield folder
    shutil.rmtree(folder)
