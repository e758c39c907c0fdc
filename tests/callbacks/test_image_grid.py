"""Grids of the same faces, during training."""

import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from diffrig_emo.callbacks import ImageGrid, WeightEMA
from diffrig_emo.callbacks.image_grid import first_faces, labelled_grid, paint_faces
from diffrig_emo.io.images import read_image
from diffrig_emo.transforms.edits import transfer_expression
from tests.fakes import FakeFacesDataModule


def batch_of(data, size=3):
    return first_faces(next(iter(data.val_dataloader())), size)


def test_columns_are_what_the_model_gives(make_rig):
    rig, batch = make_rig().eval(), batch_of(FakeFacesDataModule())
    columns = paint_faces(rig, batch)
    assert list(columns) == ["source", "render", "reconstruction", "edit", "difference"]
    assert torch.equal(columns["source"], batch["image"])
    torch.testing.assert_close(columns["reconstruction"], rig.edit(batch), atol=1e-5, rtol=0)
    codes = transfer_expression(batch["codes"], batch["codes"][[1, 2, 0]])
    torch.testing.assert_close(columns["edit"], rig.edit(batch, codes=codes), atol=1e-5, rtol=0)
    difference = (3 * (columns["edit"] - batch["image"]).abs()).clamp(0, 1)
    torch.testing.assert_close(columns["difference"], difference)


def test_a_model_without_buffers_or_codes_has_fewer_columns(make_rig):
    batch = batch_of(FakeFacesDataModule())
    del batch["codes"]
    assert list(paint_faces(make_rig(buffers=False).eval(), batch)) == [
        "source",
        "reconstruction",
        "edit",
        "difference",
    ]


def test_names_stand_above_the_columns():
    black = torch.zeros(2, 3, 40, 40)
    grid = labelled_grid({"source": black, "": black})
    assert grid[:, :16, :42].min() < 0.5, "a name"
    assert grid[:, :16, 42:].min() == 1, "no name"
    assert grid[:, 18:58, 2:42].max() == 0, "the first picture"


def test_grids_of_a_training(make_rig, make_trainer, tmp_path):
    rig = make_rig()
    logger = TensorBoardLogger(tmp_path, name="run", version=0)
    trainer = make_trainer(WeightEMA(0.5), ImageGrid(num_faces=2, every_n_steps=3), logger=logger, max_steps=4)
    modes = []
    rig.on_train_batch_start = lambda batch, batch_idx: modes.append(rig.denoiser.training)
    trainer.fit(rig, FakeFacesDataModule())
    assert modes == [True] * 4
    grids = sorted(path.name for path in tmp_path.glob("run/version_0/grids/*.png"))
    # An epoch has two steps, and validation after it.
    assert grids == ["step=000002.png", "step=000003.png", "step=000004.png"]
    assert read_image(tmp_path / "run/version_0/grids/step=000002.png").shape == (3, 16 + 2 * 18 + 2, 5 * 18 + 2)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run/version_0"))
    events.Reload()
    assert [image.step for image in events.Images("faces")] == [2, 3, 4]


@pytest.mark.parametrize(("name", "value"), [("num_faces", 0), ("every_n_steps", 0)])
def test_numbers_must_be_positive(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        ImageGrid(**{name: value})
