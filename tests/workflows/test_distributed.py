"""Two processes train from YAML alone as one would with twice the batch; mixed precision takes a step."""

import os
import subprocess
import sys

import pytest
import torch

from diffrig_emo.cli import main
from diffrig_emo.io.images import write_image
from diffrig_emo.modules.base import _mix
from diffrig_emo.workflows.experiment import load_experiment

STEPS = 3
CONFIG = """
seed_everything: 3
trainer:
  accelerator: cpu
  precision: 32-true
  max_steps: {steps}
  limit_val_batches: 0
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - recorder.Recorder
    - diffrig_emo.callbacks.StopOnNonFinite
    - diffrig_emo.callbacks.LastCheckpoint
    - {{class_path: diffrig_emo.callbacks.WeightEMA, init_args: {{decay: 0.9}}}}
model:
  class_path: diffrig_emo.modules.FaceDiffusion
  init_args:
    denoiser:
      class_path: diffrig_emo.diffusion.ConditionedUNet
      init_args:
        image_size: 32
        base_channels: 32
        channel_mult: [1]
        num_res_blocks: 1
        attention_resolutions: []
        vectors:
          - {{name: global, dim: 4}}
    conditioners:
      - class_path: diffrig_emo.conditioning.GlobalCodeConditioner
        init_args:
          encoder:
            class_path: diffrig_emo.diffusion.TimmGlobalEncoder
            init_args: {{model_name: test_resnet, dim: 4}}
    schedule: diffrig_emo.diffusion.CosineSchedule
    optimizer:
      class_path: torch.optim.SGD
      init_args: {{lr: 0.05}}
data:
  class_path: diffrig_emo.datamodules.FFHQDataModule
  init_args: {{root: ffhq, split: all, image_size: 32, batch_size: 2}}
"""
RECORDER = """
import torch
from lightning.pytorch.callbacks import Callback

class Recorder(Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append((outputs["loss"].item(), batch["index"].tolist()))

    def on_train_end(self, trainer, pl_module):
        torch.save(self.losses, f"losses{trainer.global_rank}.pt")
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    for number in range(13):  # not a multiple of what a step takes
        write_image(tmp_path / f"ffhq/{number:05d}.png", torch.rand(3, 32, 32, generator=generator))
    (tmp_path / "recorder.py").write_text(RECORDER)
    (tmp_path / "config.yaml").write_text(CONFIG.format(steps=STEPS))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("recorder", None)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_fork"])  # ddp_fork is that of notebooks
def test_two_processes_train_as_one_with_both_batches(run, strategy):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(run)}
    options = ["--trainer.devices=2", f"--trainer.strategy={strategy}"]
    command = [sys.executable, "-m", "diffrig_emo", "fit", "--config", "config.yaml", *options]
    subprocess.run(command, cwd=run, env=environment, check=True, timeout=600, capture_output=True)
    found = [torch.load(f"losses{rank}.pt", weights_only=True) for rank in range(2)]

    experiment = load_experiment("config.yaml")
    model, data = experiment.model, experiment.data
    optimizer = model.configure_optimizers()
    model.train()
    model.log = lambda *args, **kwargs: None
    data.setup("fit")
    sampler = data._train_sampler(2, 0)
    orders = [list(data._train_sampler(2, rank)) for rank in range(2)]
    assert not set(orders[0]) & set(orders[1])
    assert len(sampler) == 6
    for step in range(STEPS):
        losses = []
        for rank in range(2):
            faces = orders[rank][2 * step : 2 * step + 2]
            batch = next(iter(torch.utils.data.DataLoader(
                torch.utils.data.Subset(data.train_dataset, faces), 2, collate_fn=data.val_dataloader().collate_fn
            )))  # fmt: skip
            torch.manual_seed(_mix(model.seed, step, step, rank))
            losses.append(model.training_step(batch, step))
            loss, seen = found[rank][step]
            assert seen == faces
            assert loss == pytest.approx(losses[-1].item(), rel=1e-4)
        optimizer.zero_grad()
        (sum(losses) / 2).backward()
        optimizer.step()
    raw = torch.load("checkpoints/last.ckpt", weights_only=True)["raw_weights"]
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(raw[name], parameter.detach(), atol=1e-5, rtol=1e-3)


def test_bfloat16_takes_a_step(run):
    main(["fit", "--config", "config.yaml", "--trainer.precision=bf16-mixed", "--trainer.max_steps=1"])
    checkpoint = torch.load("checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 1
    assert {tensor.dtype for tensor in checkpoint["raw_weights"].values()} == {torch.float32, torch.int64}
    ((loss, _),) = torch.load("losses0.pt", weights_only=True)
    assert 0 < loss < 10
