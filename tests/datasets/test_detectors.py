import sys
import types

import numpy as np
import pytest
import scipy.io
import torch
from skimage import data

from diffrig_emo.datasets.detectors import CascadeDetector, DetectedFaces, FaceAlignmentDetector, read_landmarks


@pytest.fixture(scope="module")
def astronaut():
    return torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255


def test_the_cascade_finds_the_astronaut(astronaut):
    faces = CascadeDetector()(astronaut)
    assert len(faces) == 1
    left, top, right, bottom = faces.boxes[0]
    eyes, mouth = (200, 115), (222, 160)  # read off the picture
    for x, y in (eyes, mouth):
        assert left < x < right
        assert top < y < bottom
    assert 60 < right - left < 150


def test_boxes_scale_with_the_photo(astronaut):
    small = CascadeDetector()(astronaut).boxes[0]
    large = CascadeDetector()(torch.nn.functional.interpolate(astronaut[None], scale_factor=2)[0]).boxes[0]
    assert (large / 2 - small).abs().max() < 12


def test_no_face_is_an_answer():
    faces = CascadeDetector()(torch.rand(3, 90, 70))
    assert len(faces) == 0
    assert faces.boxes.shape == (0, 4)
    assert len(CascadeDetector()(torch.rand(3, 8, 8))) == 0
    with pytest.raises(ValueError, match="no face"):
        faces.largest()


def test_the_largest_face_is_that_with_the_largest_box():
    landmarks = torch.rand(3, 68, 2) * torch.tensor([10.0, 40.0, 20.0])[:, None, None]
    faces = DetectedFaces.from_landmarks(landmarks)
    assert faces.largest() == 1
    assert faces.kind == "kpt68"
    torch.testing.assert_close(faces.boxes[0, :2], landmarks[0].amin(0))


@pytest.mark.parametrize("suffix", [".txt", ".mat"])
def test_landmarks_beside_the_photo(tmp_path, suffix):
    points = np.random.default_rng(0).uniform(0, 200, (68, 2)).astype(np.float32)
    if suffix == ".txt":
        np.savetxt(tmp_path / "a.txt", points)
    else:
        scipy.io.savemat(tmp_path / "a.mat", {"pt3d_68": np.vstack([points.T, np.zeros((1, 68))])})
    torch.testing.assert_close(read_landmarks(tmp_path / "a.jpg"), torch.from_numpy(points))
    assert read_landmarks(tmp_path / "b.jpg") is None


@pytest.mark.parametrize("content", ["1 2\n3 4\n", "not numbers", "nan nan\n" * 68, ""])
@pytest.mark.filterwarnings("ignore:loadtxt")
def test_damaged_landmarks_are_named(tmp_path, content):
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(ValueError, match=r"a\.txt: expected 68"):
        read_landmarks(tmp_path / "a.jpg")
    (tmp_path / "b.mat").write_bytes(b"no matlab file")
    with pytest.raises(ValueError, match=r"b\.mat: expected a MATLAB file"):
        read_landmarks(tmp_path / "b.jpg")


@pytest.mark.parametrize("name", ["TWO_D", "_2D"])
def test_fan_of_old_and_new_face_alignment(monkeypatch, name):
    """The package itself downloads weights; a stand-in shows what it is asked, and how its answers are read."""
    asked = {}

    class Stand:
        def __init__(self, kind, flip_input, device):
            asked.update(kind=kind, flip_input=flip_input, device=device)

        def get_landmarks_from_image(self, pixels):
            asked["pixels"] = pixels
            return [np.full((68, 2), 3.0), np.full((68, 2), 5.0)] if pixels.max() > 0 else None

    package = types.ModuleType("face_alignment")
    package.LandmarksType = types.SimpleNamespace(**{name: "2d"})
    package.FaceAlignment = Stand
    monkeypatch.setitem(sys.modules, "face_alignment", package)
    detect = FaceAlignmentDetector(device="cpu")
    faces = detect(torch.ones(3, 6, 4))
    assert asked["kind"] == "2d"
    assert asked["flip_input"] is False
    assert asked["pixels"].dtype == np.uint8
    assert asked["pixels"].shape == (6, 4, 3)
    assert faces.landmarks.shape == (2, 68, 2)
    assert len(detect(torch.zeros(3, 6, 4))) == 0


def test_without_face_alignment_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    with pytest.raises(ImportError, match=r"diffrig_emo\[detectors\]"):
        FaceAlignmentDetector()
