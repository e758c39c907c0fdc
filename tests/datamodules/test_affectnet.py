"""AffectNet through its DataModule: balanced, also in two processes."""

import os
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from PIL import Image

from diffrig_emo.datamodules.affectnet import AffectNetDataModule


@pytest.fixture
def root(tmp_path):
    for part, counts in {"train": {"happy": 12, "anger": 3, "fear": 1}, "val": {"happy": 2, "anger": 2}}.items():
        for name, count in counts.items():
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8)).save(tmp_path / part / name / f"{number}.png")
    return str(tmp_path)


def labels_of(data, epoch=0):
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [int(label) for batch in loader for label in batch["label"]]


def test_classes_come_equally_often_when_asked(root):
    plain = AffectNetDataModule(root, image_size=8, batch_size=4)
    plain.setup("fit")
    assert sorted(labels_of(plain)) == [1] * 12 + [4] + [6] * 3
    balanced = AffectNetDataModule(root, image_size=8, batch_size=4, class_balanced=True)
    balanced.setup("fit")
    counts = torch.bincount(torch.tensor(labels_of(balanced)))
    assert sorted(counts[[1, 4, 6]].tolist()) == [5, 5, 6]


def test_two_processes_share_the_order_of_one(root):
    def indices(rank, world_size):
        data = AffectNetDataModule(root, image_size=8, batch_size=2, class_balanced=True, seed=7)
        data.trainer = SimpleNamespace(world_size=world_size, global_rank=rank)
        data.setup("fit")
        loader = data.train_dataloader()
        loader.sampler.set_epoch(3)
        return list(loader.sampler)

    alone, first, second = indices(0, 1), indices(0, 2), indices(1, 2)
    assert [i for pair in zip(first, second, strict=True) for i in pair] == alone


class Counter(L.LightningModule):
    """Counts the labels that each process is shown."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = torch.zeros(8)  # no buffer, which processes would share

    def training_step(self, batch):
        self.seen += torch.bincount(batch["label"], minlength=8)
        return self.weight

    def validation_step(self, batch):
        pass

    def on_train_epoch_end(self):
        torch.save(self.seen, f"{self.trainer.default_root_dir}/seen{self.trainer.global_rank}.pt")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="starts two processes by forking")
def test_classes_stay_balanced_under_ddp(root, tmp_path):
    data = AffectNetDataModule(root, image_size=8, batch_size=1, class_balanced=True)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp_fork",
        max_epochs=1,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Counter(), data)
    seen = sum(torch.load(tmp_path / f"seen{rank}.pt", weights_only=True) for rank in range(2))
    assert sorted(seen[[1, 4, 6]].tolist()) == [5, 5, 6]
    assert seen.sum() == 16


def test_describe_prints_both_parts(root, capsys):
    AffectNetDataModule(root).describe()
    text = capsys.readouterr().out
    assert "part train, 16 faces" in text
    assert "part val, 4 faces" in text
    assert "24,882" in text
