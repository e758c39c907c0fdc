import numpy as np
import pytest
import torch
from skimage import data
from skimage.transform import resize

from diffrig_emo.datasets.detectors import CascadeDetector, DetectedFaces, FaceDetector
from diffrig_emo.datasets.photos import NoFaceError, align_window, crop_photo, list_photos
from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.transforms.crop import crop_tform, warp


class Nobody(FaceDetector):
    def __call__(self, photo):
        return DetectedFaces(torch.zeros(0, 4), torch.zeros(0), "bbox")


@pytest.fixture
def astronaut(tmp_path):
    picture = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255
    write_image(tmp_path / "astronaut.png", picture)
    return tmp_path / "astronaut.png"


def test_the_crop_holds_the_face(astronaut):
    crop = crop_photo(astronaut, 256, CascadeDetector())
    assert crop.aligned.shape == (1, 3, 256, 256)
    assert crop.image.shape == (1, 3, 224, 224)
    expected = resize(data.astronaut() / 255, (256, 256), anti_aliasing=True)
    torch.testing.assert_close(crop.aligned[0].double(), torch.from_numpy(expected).permute(2, 0, 1), atol=2e-7, rtol=0)
    to_crop = crop.tform[0] @ crop.photo_to_aligned[0]
    eyes, mouth = (to_crop @ torch.tensor([[200.0, 222.0], [115.0, 160.0], [1.0, 1.0]]))[:2].T
    assert (eyes > 60).all()
    assert (mouth < 180).all()


def test_landmarks_beside_the_photo_come_first_and_place_the_crop(astronaut):
    points = np.array([[150.0, 60.0], [270.0, 180.0]] * 34)
    np.savetxt(astronaut.with_suffix(".txt"), points)
    crop = crop_photo(astronaut, 512, Nobody())
    torch.testing.assert_close(crop.tform, crop_tform(torch.tensor([[150.0, 60.0, 270.0, 180.0]])))


def test_a_wide_photo_gives_the_window_around_the_face(tmp_path):
    photo = torch.rand(3, 40, 100)
    box = torch.tensor([70.0, 10.0, 90.0, 30.0])
    tform, window = align_window(photo, box, 40)
    torch.testing.assert_close(window, photo[:, :, 60:100])
    tform, small = align_window(photo, torch.tensor([50.0, 10.0, 70.0, 30.0]), 80)
    again = warp(photo[None], tform[None], (80, 80))[0]
    torch.testing.assert_close(small[:, 2:-2, 2:-2], again[:, 2:-2, 2:-2], atol=1e-5, rtol=0)


def test_no_face_names_the_photo_and_the_remedy(astronaut):
    with pytest.raises(NoFaceError, match=r"astronaut\.png: no face was found.*astronaut\.txt"):
        crop_photo(astronaut, 64, Nobody())


def test_photos_of_a_folder(tmp_path):
    for name in ("b.png", "a.JPG", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [p.name for p in list_photos(tmp_path)] == ["a.JPG", "b.png"]
    assert list_photos(tmp_path / "b.png") == [tmp_path / "b.png"]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        list_photos(tmp_path / "c.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="got none"):
        list_photos(tmp_path / "empty")


def test_read_image_is_what_crop_photo_keeps(astronaut):
    assert torch.equal(crop_photo(astronaut, 64, CascadeDetector()).photo[0], read_image(astronaut))
