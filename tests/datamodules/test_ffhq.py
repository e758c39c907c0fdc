"""FFHQ through its DataModule."""

import pytest
from PIL import Image

from diffrig_emo.datamodules.ffhq import FFHQDataModule


@pytest.fixture
def root(tmp_path):
    for number in (0, 1, 2, 3, 4, 60000, 60001):
        Image.new("RGB", (16, 16), (number % 100, 0, 0)).save(tmp_path / f"{number:05d}.png")
    return str(tmp_path)


def test_batches_of_both_parts(root):
    data = FFHQDataModule(root, image_size=8, batch_size=2)
    data.setup("fit")
    seen = [path for batch in data.train_dataloader() for path in batch["path"]]
    assert len(set(seen)) == len(seen) == 4
    assert all(int(path[:5]) < 5 for path in seen)
    (batch,) = data.val_dataloader()
    assert batch["path"] == ["60000.png", "60001.png"]
    assert batch["image"].shape == (2, 3, 8, 8)
    assert batch["source"] == ["ffhq", "ffhq"]


def test_prediction_needs_no_training_faces(root):
    data = FFHQDataModule(root)
    data.setup("predict")
    assert not hasattr(data, "train_dataset")
    assert len(data.predict_dataset) == 2


def test_describe_prints(root, capsys):
    FFHQDataModule(root).describe()
    assert "layout folder, 7 faces" in capsys.readouterr().out


def test_a_batch_that_cannot_be_filled_is_refused(root):
    data = FFHQDataModule(root, batch_size=6)
    data.setup("fit")
    with pytest.raises(ValueError, match="batch_size must be at most 5"):
        data.train_dataloader()
