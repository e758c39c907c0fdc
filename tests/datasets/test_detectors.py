import sys
import types

import cv2
import numpy as np
import pytest
import scipy.io
import torch
from skimage import data

from diffrig_emo.datasets.detectors import (
    CascadeDetector,
    DetectedFaces,
    FaceAlignmentDetector,
    MediaPipeDetector,
    StoredFaces,
    YuNetDetector,
    read_landmarks,
)
from diffrig_emo.datasets.detectors.mediapipe import MESH_OF_68


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
    assert faces.choose("largest", (90, 70)) == []
    assert faces.choose(3, (90, 70)) == []


def test_the_largest_face_is_that_with_the_largest_box():
    landmarks = torch.rand(3, 68, 2) * torch.tensor([10.0, 40.0, 20.0])[:, None, None]
    faces = DetectedFaces.from_landmarks(landmarks)
    assert faces.choose("largest", (100, 100)) == [1]
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


@pytest.mark.parametrize("policy", ["first", -1, True, None])
def test_unknown_policies(policy):
    with pytest.raises(ValueError, match="face_policy: expected 'largest', 'center', 'all' or 0, 1"):
        DetectedFaces.from_landmarks(torch.rand(2, 68, 2)).choose(policy, (10, 10))


def test_stored_faces_by_photo(tmp_path):
    points = np.random.default_rng(0).uniform(0, 90, (68, 2))
    photo = torch.zeros(3, 100, 100)
    known = StoredFaces({"0/a.png": points.tolist()}, {"0/a.png": [0, 0, 1, 1], "b.png": [1, 2, 31, 42]}, tmp_path)
    faces = known.in_file(tmp_path / "0" / "a.png", photo)
    torch.testing.assert_close(faces.landmarks[0], torch.from_numpy(points).float())
    assert faces.kind == "kpt68"
    halved = known.in_file(tmp_path / "b.png", photo, zoom=0.5)
    assert halved.kind == "bbox"
    assert halved.boxes.tolist() == [[0.25, 0.75, 15.25, 20.75]]
    assert len(known.in_file(tmp_path / "c.png", photo)) == 0
    assert len(known(photo)) == 0


def test_photos_without_a_record_are_looked_at(astronaut, tmp_path):
    known = StoredFaces(boxes={"a.png": [0, 0, 9, 9]}, root=tmp_path, otherwise=CascadeDetector())
    assert len(known.in_file(tmp_path / "b.png", astronaut)) == 1


@pytest.mark.parametrize(
    ("landmarks", "boxes", "message"),
    [
        (
            [[1.0, 2.0]],
            None,
            r"a\.png: stored landmarks: expected finite numbers of shape \(68, 2\), got shape \(1, 2\)",
        ),
        ([[float("nan")] * 2] * 68, None, "stored landmarks: expected finite"),
        ("1;2;3", None, "stored landmarks: expected numbers"),
        (None, [10, 10, 4, 20], "stored box: expected left < right"),
        (None, [10, 10, -4], r"stored box: expected finite numbers of shape \(4,\)"),
    ],
)
def test_damaged_records_are_named(tmp_path, landmarks, boxes, message):
    known = StoredFaces(
        {} if landmarks is None else {"a.png": landmarks}, {} if boxes is None else {"a.png": boxes}, root=tmp_path
    )
    with pytest.raises(ValueError, match=message):
        known.in_file(tmp_path / "a.png", torch.zeros(3, 8, 8))


class Mesh:
    """Stands in for MediaPipe, whose model is a download: vertex i of the face lies at (i / 1000, i / 500)."""

    def __init__(self):
        point = types.SimpleNamespace
        self.face = [point(x=i / 1000, y=i / 500, z=0.0) for i in range(478)]
        self.asked = {}

    def install(self, monkeypatch):
        package = types.ModuleType("mediapipe")
        package.ImageFormat = types.SimpleNamespace(SRGB="srgb")
        package.Image = lambda image_format, data: types.SimpleNamespace(kind=image_format, data=data)
        tasks = types.ModuleType("mediapipe.tasks.python")
        tasks.BaseOptions = dict
        landmarker = types.SimpleNamespace(create_from_options=self.create)
        tasks.vision = types.SimpleNamespace(FaceLandmarkerOptions=dict, FaceLandmarker=landmarker)
        monkeypatch.setitem(sys.modules, "mediapipe", package)
        monkeypatch.setitem(sys.modules, "mediapipe.tasks", types.ModuleType("mediapipe.tasks"))
        monkeypatch.setitem(sys.modules, "mediapipe.tasks.python", tasks)

    def create(self, options):
        self.asked.update(options)
        return self

    def detect(self, picture):
        self.asked["picture"] = picture
        return types.SimpleNamespace(face_landmarks=[self.face] if picture.data.max() else [])


def test_mediapipe_gives_the_68_points_of_its_mesh(monkeypatch, tmp_path):
    mesh = Mesh()
    mesh.install(monkeypatch)
    (tmp_path / "face_landmarker.task").write_bytes(b"model")
    detect = MediaPipeDetector(tmp_path / "face_landmarker.task", max_faces=3)
    faces = detect(torch.ones(3, 50, 100))
    assert mesh.asked["num_faces"] == 3
    assert mesh.asked["base_options"] == {"model_asset_path": str(tmp_path / "face_landmarker.task")}
    assert mesh.asked["picture"].kind == "srgb"
    assert mesh.asked["picture"].data.shape == (50, 100, 3)
    # vertex 152 is the chin's, point 8 of the 68; edges to pixel centres costs half a pixel
    torch.testing.assert_close(faces.landmarks[0, 8], torch.tensor([15.2 - 0.5, 15.2 - 0.5]))
    assert len(detect(torch.zeros(3, 50, 100))) == 0
    with pytest.raises(FileNotFoundError, match=r"nowhere\.task: expected MediaPipe's"):
        MediaPipeDetector(tmp_path / "nowhere.task")


def test_the_mesh_vertices_are_68_different_ones_on_known_contours():
    """Against MediaPipe's published contours of its mesh (`FaceLandmarksConnections`)."""
    oval = {10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176}
    oval |= {149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109}
    right_eye = {33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173}
    left_eye = {263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398}
    lips = {61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409}
    lips |= {78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415}
    right_brow = {46, 53, 52, 65, 55, 70, 63, 105, 66, 107}
    left_brow = {276, 283, 282, 295, 285, 300, 293, 334, 296, 336}
    assert len(set(MESH_OF_68)) == 68
    spans = {(0, 17): oval, (17, 22): right_brow, (22, 27): left_brow, (36, 42): right_eye, (42, 48): left_eye}
    for (start, end), contour in (spans | {(48, 68): lips}).items():
        assert set(MESH_OF_68[start:end]) <= contour


def test_without_mediapipe_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(ImportError, match=r"diffrig_emo\[detectors\]"):
        MediaPipeDetector(tmp_path / "face_landmarker.task")


def test_yunet_is_asked_in_its_size_and_answers_in_the_photos(monkeypatch, tmp_path):
    """Its weights are a download; a stand-in shows what it is asked, and how its answers are read."""
    asked = {}

    class Stand:
        def setInputSize(self, size):
            asked["size"] = size

        def detect(self, pixels):
            asked["pixels"] = pixels
            row = [10, 20, 30, 40, *[0] * 10, 0.9]
            return 1, np.array([row], dtype=np.float32) if pixels.max() else None

    def create(path, config, size, threshold):
        asked.update(path=path, threshold=threshold)
        return Stand()

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", create)
    (tmp_path / "yunet.onnx").write_bytes(b"model")
    detect = YuNetDetector(tmp_path / "yunet.onnx", threshold=0.8, longest_side=100)
    photo = torch.zeros(3, 100, 200)
    photo[0] = 1
    faces = detect(photo)
    assert (asked["path"], asked["threshold"], asked["size"]) == (str(tmp_path / "yunet.onnx"), 0.8, (100, 50))
    assert asked["pixels"].shape == (50, 100, 3)
    assert asked["pixels"][0, 0].tolist() == [0, 0, 255], "BGR"
    assert faces.boxes.tolist() == [[19.5, 39.5, 79.5, 119.5]]
    assert faces.scores.tolist() == [pytest.approx(0.9)]
    assert faces.kind == "bbox"
    assert len(detect(torch.zeros(3, 100, 200))) == 0


def test_a_file_that_is_not_yunets(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.onnx: expected YuNet's ONNX file"):
        YuNetDetector(tmp_path / "a.onnx")
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"a\.onnx: expected YuNet's ONNX file, but OpenCV cannot read it"):
        YuNetDetector(tmp_path / "a.onnx")
