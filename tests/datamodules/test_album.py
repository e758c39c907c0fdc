"""An album through its DataModule."""

import pytest
from PIL import Image

from diffrig_emo.datamodules.album import AlbumDataModule


@pytest.fixture
def folder(tmp_path):
    for number in range(5):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    return str(tmp_path)


def test_all_photos_train_unless_some_are_held_out(folder):
    data = AlbumDataModule(folder, image_size=8, batch_size=5)
    data.setup("fit")
    (batch,) = data.train_dataloader()
    assert sorted(batch["path"]) == [f"{number}.png" for number in range(5)]
    assert len(data.val_dataset) == 5
    held_out = AlbumDataModule(folder, image_size=8, num_val=2, batch_size=3)
    held_out.setup("fit")
    (batch,) = held_out.train_dataloader()
    (other,) = held_out.val_dataloader()
    assert not set(batch["path"]) & set(other["path"])


def test_a_batch_larger_than_the_album_is_refused(folder):
    data = AlbumDataModule(folder, batch_size=6)
    data.setup("fit")
    with pytest.raises(ValueError, match="batch_size must be at most 5"):
        data.train_dataloader()
