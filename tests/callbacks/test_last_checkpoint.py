"""The last checkpoint: when it is written, that a kill cannot damage it, and where it is found."""

import os

import pytest
import torch

from diffrig_emo.callbacks import AtomicCheckpointIO, LastCheckpoint, find_last_checkpoint
from tests.fakes import FakeFacesDataModule


def steps_saved(monkeypatch):
    steps = []
    write = AtomicCheckpointIO.save_checkpoint

    def save_checkpoint(self, checkpoint, path, storage_options=None):
        steps.append(checkpoint["global_step"])
        write(self, checkpoint, path, storage_options)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save_checkpoint)
    return steps


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_steps": 5}, [2, 4, 5]),
        ({"max_steps": -1, "max_epochs": 2}, [2, 4]),  # of two batches
        ({"max_steps": 3, "accumulate_grad_batches": 2}, [2, 3]),
        ({"max_steps": 5, "fast_dev_run": 3}, []),
    ],
)
def test_every_n_steps_and_at_the_end(make_rig, make_trainer, tmp_path, monkeypatch, options, expected):
    steps = steps_saved(monkeypatch)
    make_trainer(LastCheckpoint(every_n_steps=2), enable_checkpointing=True, **options).fit(
        make_rig(), FakeFacesDataModule()
    )
    assert steps == expected
    assert [path.name for path in (tmp_path / "checkpoints").glob("*")] == ["last.ckpt"] * bool(expected)


def test_a_kill_while_writing_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "global_step": 1}, path)

    def write_half(content, file):
        file.write(b"PK half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(KeyboardInterrupt):
        AtomicCheckpointIO().save_checkpoint({"state_dict": {}, "global_step": 2}, path)
    assert torch.load(path, weights_only=True)["global_step"] == 1
    assert list(path.parent.glob("*.ckpt")) == [path], "nothing that is taken for a checkpoint"
    assert find_last_checkpoint(tmp_path) == path


def test_the_newest_run_is_found(tmp_path):
    assert find_last_checkpoint(tmp_path) is None
    for age, place in enumerate(("checkpoints", "lightning_logs/version_1/checkpoints", "a/b/c/checkpoints")):
        path = tmp_path / place / "last.ckpt"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1000 + age, 1000 + age))
    assert find_last_checkpoint(tmp_path) == tmp_path / "lightning_logs/version_1/checkpoints/last.ckpt"


def test_steps_must_be_positive():
    with pytest.raises(ValueError, match="every_n_steps must be at least 1, got 0"):
        LastCheckpoint(0)
