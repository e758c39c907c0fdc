"""One synthetic person, whom the rigs of `SyntheticFacesDataModule` never met."""

import pytest
import torch

from diffrig_emo.datamodules import AlbumDataModule, SyntheticAlbumDataModule, SyntheticFacesDataModule
from diffrig_emo.io.images import write_image


@pytest.fixture(scope="module")
def album():
    data = SyntheticAlbumDataModule(num_train=4, num_val=2, num_test=2, person=1, image_size=16, batch_size=2)
    data.setup()
    return data


def test_all_photos_are_of_one_person_of_the_test_people(album):
    splits = (album.train_dataset, album.val_dataset, album.test_dataset)
    assert [len(split) for split in splits] == [4, 2, 2]
    photos = [photo for split in splits for photo in split.photos]
    assert len({int(photo["index"]) for photo in photos}) == 8
    others = SyntheticFacesDataModule(num_train=2, num_val=2, num_test=2, image_size=16)
    person = others.test_faces.codes([1])
    strangers = [faces.codes([i]) for faces in (others.train_faces, others.val_faces) for i in range(2)]
    for photo in photos:
        assert torch.equal(photo["codes"].shape, person.shape)
        assert torch.equal(photo["codes"].tex, person.tex)
        assert not any(torch.equal(photo["codes"].shape, stranger.shape) for stranger in strangers)
    mean = torch.cat([photo["codes"].shape for photo in photos]).mean(dim=0, keepdim=True)
    torch.testing.assert_close(mean, person.shape)


def test_photos_are_edited_to_one_another_s_expressions(album):
    first, second = album.predict_dataset.photos
    assert torch.equal(first["target_codes"].exp, second["codes"].exp)
    assert torch.equal(second["target_codes"].jaw_pose, first["codes"].jaw_pose)
    assert torch.equal(first["target_codes"].light, first["codes"].light)


def test_an_album_of_one_photo_is_refused_at_start(tmp_path):
    with pytest.raises(ValueError, match=r"num_train: expected 2 or more photographs of the person .*, got 1"):
        SyntheticAlbumDataModule(num_train=1)
    write_image(tmp_path / "only.png", torch.rand(3, 8, 8))
    with pytest.raises(ValueError, match=r"expected 2 or more photographs .*, got 1; from a single one"):
        AlbumDataModule(str(tmp_path), image_size=8, batch_size=1).setup("fit")
    with pytest.raises(ValueError, match="person must be at least 0, got -1"):
        SyntheticAlbumDataModule(person=-1)
