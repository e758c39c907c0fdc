"""A training killed with SIGKILL and resumed from the command line repeats the uninterrupted one, bit for bit."""

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from diffrig_emo.cli import main
from diffrig_emo.io.images import write_image

STEPS = 12  # of two batches each; an epoch has 7 batches: 4 steps, of which the last has one batch
CONFIG = """
seed_everything: 3
trainer:
  accelerator: cpu
  precision: 32-true
  max_steps: {steps}
  accumulate_grad_batches: 2
  gradient_clip_val: 1.0
  log_every_n_steps: 1
  limit_val_batches: 1
  num_sanity_val_steps: 0
  enable_progress_bar: false
  enable_model_summary: false
  logger:
    class_path: lightning.pytorch.loggers.CSVLogger
    init_args: {{save_dir: ., flush_logs_every_n_steps: 1}}
  callbacks:
    - {{class_path: diffrig_emo.callbacks.WeightEMA, init_args: {{decay: 0.9}}}}
    - {{class_path: diffrig_emo.callbacks.LastCheckpoint, init_args: {{every_n_steps: {every}}}}}
model:
  class_path: diffrig_emo.modules.FaceDiffusion
  init_args:
    denoiser:
      class_path: diffrig_emo.diffusion.ConditionedUNet
      init_args:
        image_size: 16
        base_channels: 32
        channel_mult: [1]
        num_res_blocks: 1
        attention_resolutions: []
        dropout: 0.1
        vectors:
          - {{name: global, dim: 4}}
    conditioners:
      - class_path: diffrig_emo.conditioning.GlobalCodeConditioner
        init_args:
          encoder:
            class_path: diffrig_emo.diffusion.TimmGlobalEncoder
            init_args: {{model_name: test_resnet, dim: 4}}
    schedule: diffrig_emo.diffusion.CosineSchedule
    lr_scheduler:
      class_path: torch.optim.lr_scheduler.OneCycleLR
      init_args: {{max_lr: 0.01, total_steps: 1000000}}
data:
  class_path: diffrig_emo.datamodules.FFHQDataModule
  init_args: {{root: ffhq, split: all, image_size: 16, batch_size: 2, num_workers: {workers}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    generator = torch.Generator().manual_seed(0)
    for number in range(15):
        write_image(folder / f"ffhq/{number:05d}.png", torch.rand(3, 16, 16, generator=generator))
    return folder


def write_config(run, workers, every=STEPS):
    run.mkdir()
    (run / "ffhq").symlink_to(run.parent / "ffhq")
    (run / "config.yaml").write_text(CONFIG.format(steps=STEPS, workers=workers, every=every))


def fit(run, *arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run)
        main(["fit", "--config", "config.yaml", *arguments])


def losses(run, version=0):
    """Loss of each logged step, as text: equal only when every bit is."""
    path = run / f"lightning_logs/version_{version}/metrics.csv"
    if not path.exists():
        return {}
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row.get("train/loss") and row["step"]]
    return {int(row["step"]): row["train/loss"] for row in rows}


@pytest.fixture(scope="module")
def whole(folder):
    write_config(folder / "whole", workers=0)
    fit(folder / "whole")
    found = losses(folder / "whole")
    assert sorted(found) == list(range(STEPS))
    assert len(set(found.values())) == STEPS
    return found, read(folder / "whole")


def read(run):
    (path,) = sorted(run.glob("lightning_logs/*/checkpoints/last.ckpt"))[-1:]
    return torch.load(path, weights_only=True)


def start_fit(run, *arguments):
    """Train in a process of its own: what is compared bit by bit must all run so, for threads differ from ours."""
    return subprocess.Popen(
        [sys.executable, "-m", "diffrig_emo", "fit", "--config", "config.yaml", *arguments],
        cwd=run,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def fit_apart(run, *arguments):
    process = start_fit(run, *arguments)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors.decode()


@pytest.fixture(scope="module")
def whole_apart(folder):
    write_config(folder / "whole_apart", workers=0)
    fit_apart(folder / "whole_apart")
    found = losses(folder / "whole_apart")
    assert sorted(found) == list(range(STEPS))
    return found


def start_and_kill(run, after):
    """Train, and SIGKILL it once it has logged step `after`."""
    process = start_fit(run, f"--trainer.max_steps={10**6}")
    try:
        deadline = time.monotonic() + 240
        while max(losses(run), default=-1) < after:
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline, "no step was logged"
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(folder, whole_apart, workers):
    run = folder / f"killed_{workers}"
    write_config(run, workers, every=1)
    start_and_kill(run, after=2)
    killed_at = read(run)["global_step"]
    assert killed_at >= 3
    fit_apart(run, "--ckpt_path", "last")
    assert losses(run, version=1) == {step: loss for step, loss in whole_apart.items() if step >= killed_at}


@pytest.mark.parametrize("step", [1, 4, 6])
def test_every_step_is_a_place_to_resume_from(folder, whole, step):
    """In the first epoch, at its end, and in the next one."""
    run = folder / f"stopped_{step}"
    write_config(run, workers=0, every=step)
    fit(run, f"--trainer.max_steps={step}")
    fit(run, "--ckpt_path", "last")
    assert losses(run, version=1) == {s: loss for s, loss in whole[0].items() if s >= step}
    for part in ("state_dict", "raw_weights", "lr_schedulers", "optimizer_states"):
        assert_equal(read(run)[part], whole[1][part])


def assert_equal(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_equal(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_equal(x, y)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b
