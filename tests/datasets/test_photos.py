import numpy as np
import pytest
import torch
from skimage import data
from skimage.transform import resize

from diffrig_emo.datasets.detectors import CascadeDetector, DetectedFaces, FaceDetector, StoredFaces
from diffrig_emo.datasets.photos import NoFaceError, align_window, crop_faces, crop_photo, crop_photos, list_photos
from diffrig_emo.io import images
from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.transforms.alignment import align_ffhq, paste_aligned
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


def face(centre, size):
    """Landmarks with eyes and mouth where an upright face has them."""
    points = torch.zeros(68, 2)
    points[:17] = torch.stack([torch.linspace(-1, 1, 17), 0.4 + 0.7 * torch.linspace(0, torch.pi, 17).sin()], 1)
    points[36:42], points[42:48] = torch.tensor([[-0.45, -0.2], [0.45, -0.2]])
    points[48], points[54] = torch.tensor([[-0.3, 0.6], [0.3, 0.6]])
    return points * size + torch.tensor(centre)


class Known(FaceDetector):
    def __init__(self, *landmarks):
        self.landmarks = torch.stack(landmarks)

    def __call__(self, photo):
        return DetectedFaces.from_landmarks(self.landmarks)


def test_landmarks_beside_the_photo_come_first_and_place_the_crop(astronaut):
    np.savetxt(astronaut.with_suffix(".txt"), face((210.0, 120.0), 60.0))
    crop = crop_photo(astronaut, 512, Nobody(), align="window")
    box = torch.tensor([[150.0, 108.0, 270.0, 186.0]])
    torch.testing.assert_close(crop.tform, crop_tform(box))
    assert crop.quality["landmarks"].tolist() == [True]


def test_faces_with_landmarks_are_aligned_unless_the_photo_was(astronaut, tmp_path):
    points = face((222.0, 120.0), 50.0)
    crop = crop_photo(astronaut, 64, Known(points))
    tform, aligned = align_ffhq(read_image(astronaut), points, 64, transform_size=256)
    assert torch.equal(crop.aligned[0], aligned)
    assert torch.equal(crop.photo_to_aligned[0], tform)
    moved = points @ tform[:2, :2].T + tform[:2, 2]
    torch.testing.assert_close(crop.tform, crop_tform(torch.cat([moved.amin(0), moved.amax(0)])[None]))
    write_image(tmp_path / "aligned.png", aligned)
    again = crop_photo(tmp_path / "aligned.png", 64, Known(moved))
    torch.testing.assert_close(again.aligned[0], aligned, atol=0.51 / 255, rtol=0)
    torch.testing.assert_close(again.photo_to_aligned[0], torch.eye(3))
    assert not torch.equal(crop_photo(tmp_path / "aligned.png", 64, Known(moved), align="ffhq").aligned, again.aligned)
    torch.testing.assert_close(
        crop_photo(astronaut, 512, Known(points), align="window").photo_to_aligned[0], torch.eye(3)
    )


def test_boxes_alone_give_the_window_and_say_so(astronaut):
    crop = crop_photo(astronaut, 64, CascadeDetector())
    assert crop.quality["landmarks"].tolist() == [False]
    assert crop.quality["visible"].tolist() == [1.0]
    with pytest.raises(ValueError, match=r"astronaut\.png: align: 'ffhq' needs landmarks"):
        crop_photo(astronaut, 64, CascadeDetector(), align="ffhq")
    with pytest.raises(ValueError, match="align: expected 'auto', 'ffhq', 'window' or 'tight', got 'none'"):
        crop_photo(astronaut, 64, CascadeDetector(), align="none")


def test_all_faces_of_a_photo(astronaut):
    left, right = face((100.0, 300.0), 30.0), face((400.0, 100.0), 60.0)
    detector = Known(right, left)
    crops = crop_photos(astronaut, 64, detector)
    assert crops.batch_size == 2
    assert len(crops.photo) == 2
    for number, policy in enumerate((0, 1)):
        torch.testing.assert_close(
            crop_photo(astronaut, 64, detector, face_policy=policy).image[0], crops.image[number]
        )
    torch.testing.assert_close(crop_photo(astronaut, 64, detector).image[0], crops.image[1])
    with pytest.raises(ValueError, match=r"astronaut\.png: face_policy: expected a face of 2, .* got number 2"):
        crop_photo(astronaut, 64, detector, face_policy=2)
    with pytest.raises(ValueError, match="face_policy: expected 'largest'"):
        crop_photo(astronaut, 64, detector, face_policy="first")


def test_a_face_cut_by_the_border_is_told(astronaut):
    crop = crop_photo(astronaut, 64, Known(face((0.0, 200.0), 60.0)))
    assert 0.45 < crop.quality["visible"].item() < 0.55
    with pytest.raises(ValueError, match=r"astronaut\.png: landmarks: expected a face in the photo"):
        crop_photo(astronaut, 64, Known(face((-100.0, 200.0), 60.0)))


def test_an_edit_goes_back_into_the_photo(astronaut):
    crop = crop_photo(astronaut, 256, Known(face((222.0, 120.0), 50.0)))
    again = paste_aligned(crop.aligned[0], crop.photo_to_aligned[0], crop.photo[0])
    assert (again - crop.photo[0]).square().mean() < 1e-3
    assert torch.equal(again[:, 300:], crop.photo[0][:, 300:])


def test_landmarks_of_a_huge_photo_are_those_of_its_file(astronaut, monkeypatch):
    points = face((222.0, 120.0), 50.0)
    np.savetxt(astronaut.with_suffix(".txt"), points)
    whole = crop_photo(astronaut, 64, Nobody())
    monkeypatch.setattr(images, "MAX_PIXELS", 256 * 256)
    halved = crop_photo(astronaut, 64, Nobody())
    assert halved.photo[0].shape == (3, 256, 256)
    assert (halved.image - whole.image).abs().mean() < 0.03
    known = StoredFaces({"astronaut.png": points.numpy()}, root=astronaut.parent)
    astronaut.with_suffix(".txt").unlink()
    assert torch.equal(crop_photo(astronaut, 64, known).image, halved.image)


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


def test_a_tight_square_lies_about_where_alignment_would_put_it():
    points = face((300.0, 200.0), 60.0)
    photo = torch.rand(3, 480, 640, generator=torch.Generator().manual_seed(0))
    known = DetectedFaces.from_landmarks(points[None])
    aligned = crop_faces(photo, known, [0], 64, align="ffhq")
    assert torch.equal(crop_faces(photo, known, [0], 64, align="tight").photo_to_aligned, aligned.photo_to_aligned)
    box = torch.tensor([[100.0, 150.0, 199.0, 249.0]])
    crop = crop_faces(photo, DetectedFaces(box, torch.ones(1), "bbox"), [0], 64, align="tight")
    corners = torch.linalg.inv(crop.photo_to_aligned[0]) @ torch.tensor([[-0.5, 63.5], [-0.5, 63.5], [1.0, 1.0]])
    side = corners[0, 1] - corners[0, 0]
    assert side / 99 == pytest.approx(1.85, abs=0.02)
    assert corners[0].mean() == pytest.approx(149.5, abs=1)
    assert corners[1].mean() == pytest.approx(199.5 - 0.15 * side, abs=1)
    outside = DetectedFaces(box - 120, torch.ones(1), "bbox")
    assert torch.isfinite(crop_faces(photo, outside, [0], 64, align="tight").aligned).all(), "beyond the border"
