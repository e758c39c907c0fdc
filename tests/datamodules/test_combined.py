"""Several DataModules as one."""

from collections import Counter

import pytest
from PIL import Image

from diffrig_emo.datamodules import SyntheticFacesDataModule
from diffrig_emo.datamodules.affectnet import AffectNetDataModule
from diffrig_emo.datamodules.combined import CombinedDataModule
from diffrig_emo.datamodules.ffhq import FFHQDataModule


@pytest.fixture
def sources(tmp_path):
    (tmp_path / "ffhq").mkdir()
    for number in (*range(30), 60000):
        Image.new("RGB", (8, 8)).save(tmp_path / "ffhq" / f"{number:05d}.png")
    for part, counts in {"train": {"happy": 8, "anger": 2}, "val": {"happy": 2}}.items():
        for name, count in counts.items():
            (tmp_path / "affectnet" / part / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8)).save(tmp_path / "affectnet" / part / name / f"{number}.png")
    affectnet = AffectNetDataModule(str(tmp_path / "affectnet"), image_size=8, class_balanced=True)
    return [FFHQDataModule(str(tmp_path / "ffhq"), image_size=8), affectnet]


def faces_of(data):
    data.setup("fit")
    batches = list(data.train_dataloader())
    return [(s, int(label)) for batch in batches for s, label in zip(batch["source"], batch["label"], strict=True)]


def test_weights_say_how_often_each_source_comes(sources):
    seen = Counter(faces_of(CombinedDataModule(sources, weights=[1, 3], batch_size=4)))
    # Within its share the balanced source stays balanced: 30 faces, 15 of each class.
    assert seen == {("ffhq", -1): 10, ("affectnet", 1): 15, ("affectnet", 6): 15}


def test_without_weights_each_source_comes_by_its_number(sources):
    seen = Counter(source for source, _ in faces_of(CombinedDataModule(sources, batch_size=4)))
    assert seen == {"ffhq": 30, "affectnet": 10}
    sources[1].class_balanced = False
    seen = Counter(faces_of(CombinedDataModule(sources, batch_size=4)))
    assert seen == {("ffhq", -1): 30, ("affectnet", 1): 8, ("affectnet", 6): 2}


def test_what_a_source_lacks_is_marked(sources):
    data = CombinedDataModule(sources, batch_size=3)
    data.setup("validate")
    (batch,) = data.val_dataloader()
    assert batch["source"] == ["ffhq", "affectnet", "affectnet"]
    assert batch["label"].tolist() == [-1, 1, 1]
    assert batch["has_label"].tolist() == [False, True, True]
    assert not batch["has_va"].any()
    assert batch["va"].isnan().all()
    assert not batch["has_landmarks"].any()
    assert batch["index"].tolist() == [0, 1, 2]


def test_sources_that_do_not_fit_are_named(sources):
    synthetic = SyntheticFacesDataModule(num_train=2, num_val=2, num_test=2, image_size=8, in_memory=False)
    with pytest.raises(ValueError, match="codes of one space, or none of them"):
        CombinedDataModule([sources[0], synthetic]).setup("fit")
    larger = FFHQDataModule(str(sources[0].root), image_size=16)
    with pytest.raises(ValueError, match="pictures of one size"):
        CombinedDataModule([larger, sources[1]]).setup("fit")


@pytest.mark.parametrize("weights", [[1], [1, -1], [0, 0], [1, float("nan")]])
def test_bad_weights_are_named(sources, weights):
    with pytest.raises(ValueError, match="weights must be 2 numbers"):
        CombinedDataModule(sources, weights)


def test_sources_are_needed():
    with pytest.raises(ValueError, match="at least one DataModule"):
        CombinedDataModule([])
