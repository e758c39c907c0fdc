"""Files in the official formats of DECA and EMOCA, with the seeded weights that the parity numbers were made with."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import types
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from tests.parity import fill

HERE = Path(__file__).parent
CHECKPOINT = "deca-epoch=10-val_loss/dataloader_idx_0=3.25521111.ckpt"
"""Lightning 1.4 made a folder of the slash in its metric's name."""
_COUNT = 300_000
"""Random numbers in each of the small weights: the largest matrix, 8192 x 181, reaches over 256 000."""


def write_fake_deca(path: Path, small: bool = False) -> Path:
    """Write a `deca_model.tar`.

    Args:
        path: the file, or a folder to put it in.
        small: weights that repeat a few random numbers: 18 MB instead of 214. Everything loads and depends on the
            picture, but the numbers are not those of the parity fixtures.
    """
    path = path / "deca_model.tar" if path.is_dir() else path
    parts = ("E_flame", "E_detail", "D_detail")
    content = {name: OrderedDict(component(name, small)) for name in parts}
    torch.save({**content, "opt": {"state": {}, "param_groups": [{"lr": 1e-4}]}, "global_step": 7}, path)
    return path


def write_fake_emoca(
    folder: Path,
    width: int = 50,
    small: bool = False,
    flags: tuple[bool, bool] | None = (False, False),
    stage: str = "detail",
    parts: Sequence[str] = ("E_flame", "E_expression", "E_detail", "D_detail"),
) -> Path:
    """Write an EMOCA model folder: `cfg.yaml`, and a checkpoint as Lightning 1.4 wrote it.

    Args:
        folder: the model folder, such as `EMOCA_v2_lr_mse_20`.
        width: how many numbers the expression encoder gives.
        small: as for `write_fake_deca`.
        flags: `exp_deca_global_pose` and `exp_deca_jaw_pose` of `cfg.yaml`; None writes no such file.
        stage: `detail` or `coarse`.
        parts: which networks the checkpoint holds.

    Returns:
        The checkpoint's path.
    """
    path = folder / stage / "checkpoints" / CHECKPOINT
    path.parent.mkdir(parents=True)
    state = {f"deca.{name}.{key}": t for name in parts for key, t in component(name, small, width).items()}
    state |= {"deca.flame.v_template": torch.zeros(5023, 3), "deca.render.constant_factor": torch.ones(9)}
    with callback_class() as callback:
        callbacks = {callback: {"best_model_score": torch.tensor(3.25), "best_model_path": "", "state": callback()}}
        content = {"epoch": 10, "pytorch-lightning_version": "1.4.9", "callbacks": callbacks, "state_dict": state}
        torch.save(content, path)
    if flags is not None:
        model = {"exp_deca_global_pose": flags[0], "exp_deca_jaw_pose": flags[1], "n_exp": 50}
        config = {name: {"model": {**model, "mode": name}} for name in ("coarse", "detail")}
        (folder / "cfg.yaml").write_text(json.dumps(config))  # JSON is YAML
    return path


def component(name: str, small: bool = False, width: int = 50) -> dict[str, Tensor]:
    """One network's state dict."""
    return {key: _tensor(f"{name}.{key}", tuple(shape), small) for key, shape in _shapes(name, width).items()}


@contextlib.contextmanager
def callback_class() -> Iterator[type]:
    """A class that can be pickled here under the name of Lightning 1.4's."""
    names = ("pytorch_lightning", "pytorch_lightning.callbacks", "pytorch_lightning.callbacks.model_checkpoint")
    modules = {name: types.ModuleType(name) for name in names}
    found = type("ModelCheckpoint", (), {"__module__": names[-1]})
    modules[names[-1]].ModelCheckpoint = found
    with mock.patch.dict(sys.modules, modules):
        yield found


def _shapes(name: str, width: int) -> dict[str, list[int]]:
    file = "emoca/keys_exp_only.json" if name == "E_expression" else "deca/keys_deca_model.json"
    shapes = fill.nest(json.loads((HERE / file).read_text()))[name]
    if name == "E_expression":
        shapes |= {"layers.2.weight": [width, 1024], "layers.2.bias": [width]}
    return shapes


def _tensor(name: str, shape: tuple[int, ...], small: bool) -> Tensor:
    if small and len(shape) > 1:
        # A window that slides over the same numbers by odd steps; `torch.save` stores those numbers once.
        numbers = _numbers(math.prod(shape[1:]))
        steps = (31, 13, 5, 1)[: len(shape)]
        reach = sum(step * (size - 1) for step, size in zip(steps, shape, strict=True))
        start = zlib.crc32(name.encode()) % (len(numbers) - reach)
        return numbers.as_strided(shape, steps, start)
    return torch.from_numpy(fill.fill_tensor(name, shape))


@cache
def _numbers(fan_in: int) -> Tensor:
    return torch.from_numpy(fill.fill_tensor("numbers", (_COUNT, 1))).flatten() / math.sqrt(fan_in)
