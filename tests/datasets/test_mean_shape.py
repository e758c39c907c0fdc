import numpy as np
import pytest
import torch

from diffrig_emo.datasets import CodeStore, StoreWriter, merge
from diffrig_emo.datasets.mean_shape import group_by_identity, mean_shape, mean_shapes


@pytest.fixture
def store(tmp_path, codes):
    """Two of Anna, one of Ben (and one without codes), one of nobody, one of Cleo, who is named in her note."""
    path = tmp_path / "faces.h5"
    with StoreWriter(path, {"encoder": "random"}) as writer:
        for number, key in enumerate(["anna/1.jpg", "anna/2.jpg", "ben/1.jpg", "loose.jpg"]):
            writer.add(key, codes=codes(number))
        writer.add("ben/2.jpg")
        writer.add("ben/3.jpg", codes=codes(5), notes={"identity": "cleo"})
    merge(path)
    return CodeStore(path)


def test_the_mean_is_that_of_the_persons_coded_faces(store, codes):
    everyone = torch.cat([codes(n).shape for n in (0, 1, 2, 3, 5)]).mean(dim=0)
    torch.testing.assert_close(mean_shape(store), everyone)
    ben = group_by_identity(store)["ben"]
    assert len(ben) == 2
    torch.testing.assert_close(mean_shape(store, ben), codes(2).shape[0])
    assert torch.equal(mean_shape(store, np.isin(np.arange(len(store)), ben)), mean_shape(store, ben))
    with pytest.raises(ValueError, match="at least one face with codes"):
        mean_shape(store, np.zeros(len(store), bool))


def test_persons_are_named_by_their_notes_or_folders(store, codes):
    keys = [note["key"] for note in store.notes()]
    groups = {name: [keys[n] for n in numbers] for name, numbers in group_by_identity(store).items()}
    assert groups == {
        "": ["loose.jpg"],
        "anna": ["anna/1.jpg", "anna/2.jpg"],
        "ben": ["ben/1.jpg", "ben/2.jpg"],
        "cleo": ["ben/3.jpg"],
    }
    shapes = mean_shapes(store)
    assert shapes.keys() == groups.keys()
    torch.testing.assert_close(shapes["anna"], torch.cat([codes(0).shape, codes(1).shape]).mean(dim=0))


def test_the_store_keeps_it(store):
    merge(store.path, mean_shape=mean_shape(store))
    again = CodeStore(store.path)
    assert torch.equal(again.mean_shape, mean_shape(again))
