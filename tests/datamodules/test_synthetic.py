import pytest
import torch

from diffrig_emo.datamodules import SyntheticFacesDataModule
from diffrig_emo.transforms import transfer_expression


@pytest.fixture(scope="module")
def data():
    data = SyntheticFacesDataModule(num_train=6, num_val=3, num_test=3, image_size=16, batch_size=2)
    data.setup("fit")
    return data


def test_faces_in_memory_are_the_faces_themselves(data):
    for i in (0, 5):
        kept, made = data.train_dataset[i], data.train_faces[i]
        torch.testing.assert_close(kept["image"], made["image"], rtol=0, atol=1e-7)
        assert torch.equal(kept["codes"].exp, made["codes"].exp)
        assert kept["label"] == made["label"]


def test_splits_show_different_people(data):
    shapes = [faces.codes().shape for faces in (data.train_faces, data.val_faces, data.test_faces)]
    everybody = torch.cat(shapes)
    assert len(everybody.unique(dim=0)) == 12


def test_order_of_training_follows_seed_and_epoch(data):
    def order(epoch):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return [int(i) for batch in loader for i in batch["index"]]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert sorted(order(1)) == list(range(6))


def test_predict_asks_for_the_expression_of_the_next_face(data):
    batches = list(data.predict_dataloader())
    targets = torch.cat([batch["target_codes"].exp for batch in batches])
    codes = data.test_faces.codes()
    assert torch.equal(targets, codes[[1, 2, 0]].exp)
    expected = transfer_expression(codes, codes[[1, 2, 0]])
    assert torch.equal(torch.cat([batch["target_codes"].pose for batch in batches]), expected.pose)


def test_without_memory_faces_are_made_when_asked_for():
    data = SyntheticFacesDataModule(num_train=2, num_val=2, num_test=2, image_size=16, in_memory=False)
    data.setup("fit")
    assert data.train_dataset is data.train_faces


@pytest.mark.parametrize(("argument", "value"), [("batch_size", 0), ("num_workers", -1), ("num_train", 0)])
def test_bad_numbers_are_named(argument, value):
    with pytest.raises(ValueError, match=argument):
        SyntheticFacesDataModule(**{argument: value})


def test_scenes_come_whole_and_in_another_order_each_epoch():
    data = SyntheticFacesDataModule(24, 1, 1, image_size=16, batch_size=4, faces_per_scene=2)
    data.setup("fit")

    def order(epoch):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return [int(i) for batch in loader for i in batch["index"]]

    first = order(0)
    assert len(first) == 4  # the third scene fills no batch
    assert all(a // 8 == b // 8 and a != b for a, b in zip(first[::2], first[1::2], strict=True))
    assert first == order(0)
    assert first != order(1)
    resumed = data.train_dataloader()
    resumed.sampler.start = 2
    assert list(resumed.sampler) == list(data.train_dataloader().sampler)[2:]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch_size": 6}, "batch_size that is a multiple"),
        ({"num_train": 20}, "num_train to be a multiple of 8"),
        ({"images_per_identity": 2}, "images_per_identity=2"),
    ],
)
def test_scenes_are_not_torn_apart(settings, said):
    with pytest.raises(ValueError, match=said):
        SyntheticFacesDataModule(**{"num_train": 16, "batch_size": 4, "faces_per_scene": 4, **settings})
