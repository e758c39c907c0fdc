"""One person's photographs."""

import pytest
import torch
from PIL import Image

from diffrig_emo.datasets import StoreWriter, merge
from diffrig_emo.datasets.album import Album


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "album/holiday").mkdir(parents=True)
    for number, name in enumerate(("a.jpg", "b.PNG", "holiday/c.jpeg", "holiday/d.webp", ".hidden.jpg")):
        suffix = name.rpartition(".")[2].lower().replace("jpg", "jpeg")
        Image.new("RGB", (24, 16), (60 * number, 0, 0)).save(tmp_path / "album" / name, suffix)
    (tmp_path / "album/notes.txt").write_text("no photo")
    return tmp_path / "album"


@pytest.fixture
def store(codes, tmp_path):
    with StoreWriter(tmp_path / "s.h5", {"encoder": "none", "image_size": 8}) as writer:
        for seed, name in enumerate(("a.jpg", "b.PNG", "holiday/d.webp")):
            writer.add(name, codes=codes(seed))
    merge(tmp_path / "s.h5")
    return tmp_path / "s.h5"


def test_photos_of_all_folders_in_any_spelling(folder):
    album = Album(folder, image_size=8)
    assert list(album.paths) == ["a.jpg", "b.PNG", "holiday/c.jpeg", "holiday/d.webp"]
    item = album[1]
    assert item["image"].shape == (3, 8, 8)
    assert item["image"][0].mean() * 255 == pytest.approx(60, abs=1)
    assert (int(item["label"]), item["source"]) == (-1, "album")


def test_photos_held_out(folder):
    train, val = (Album(folder, part, num_val=2) for part in ("train", "val"))
    assert (list(val.paths), list(train.paths)) == (["a.jpg", "holiday/c.jpeg"], ["b.PNG", "holiday/d.webp"])
    assert len(Album(folder, "train")) == len(Album(folder, "val")) == 4


def test_codes_follow_their_photos(folder, store, codes):
    album = Album(folder, "train", num_val=1, image_size=8, store=store)
    assert (list(album.paths), album.uncoded) == (["b.PNG", "holiday/d.webp"], 1)
    assert torch.equal(album[0]["codes"].exp, codes(1).exp)
    assert torch.equal(album[1]["codes"].exp, codes(2).exp)


def test_one_person_has_one_shape(folder, store):
    with pytest.raises(ValueError, match="no mean shape"):
        Album(folder, image_size=8, store=store, use_mean_shape=True)
    with pytest.raises(ValueError, match="no mean shape"):
        Album(folder, image_size=8, use_mean_shape=True)
    merge(store, mean_shape=torch.tensor([1.0, 2, 3, 4]))
    album = Album(folder, image_size=8, store=store, use_mean_shape=True)
    assert all(item["codes"].shape.tolist() == [[1, 2, 3, 4]] for item in album)


def test_bad_input_is_named(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="expected photographs"):
        Album(tmp_path / "empty")
    for number in (4, -1):
        with pytest.raises(ValueError, match="num_val: expected at least 0 and fewer than the 4"):
            Album(folder, num_val=number)
    with pytest.raises(ValueError, match="part"):
        Album(folder, "test")
    with pytest.raises(ValueError, match="image_size"):
        Album(folder, image_size=0)
    with pytest.raises(IndexError, match="face 9"):
        Album(folder)[9]
