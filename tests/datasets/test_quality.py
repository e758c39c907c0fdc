import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from diffrig_emo.datasets import CodeStore, StoreWriter, merge
from diffrig_emo.datasets.quality import head_yaws, landmark_errors, select_faces
from diffrig_emo.transforms.projection import project
from tests.fakes import FakeHead, fake_codes

SIZE = 64


@pytest.fixture
def make(tmp_path):
    """A store of faces, each a dictionary of what `StoreWriter.add` takes."""

    def write(faces):
        with StoreWriter(tmp_path / "faces.h5", {"encoder": "fake"}) as writer:
            for number, face in enumerate(faces):
                writer.add(f"{number:03d}", **face)
        merge(tmp_path / "faces.h5")
        return CodeStore(tmp_path / "faces.h5")

    return write


def turned(degrees):
    """Codes of heads turned about the vertical, after nodding: yaw, pitch."""
    yaw, pitch = degrees
    rotation = Rotation.from_euler("YX", [yaw, pitch], degrees=True).as_rotvec()
    codes = fake_codes(1)
    return codes.replace(pose=torch.cat([torch.tensor(rotation[None]).float(), codes.jaw_pose], dim=1))


def test_yaw_is_that_of_scipys_rotations(make):
    angles = [(0, 0), (30, 0), (-45, 20), (80, -15), (10, 5)]
    store = make([{"codes": turned(a)} for a in angles])
    np.testing.assert_allclose(head_yaws(store), [yaw for yaw, _ in angles], atol=1e-3)


def seen(codes):
    """Where the landmarks lie in a picture of `SIZE` pixels that is the crop itself."""
    screen = project(FakeHead()(codes).landmarks2d, codes.cam)[0, :, :2]
    return (screen + 1) * SIZE / 2 - 0.5


def test_landmark_errors_are_known_shifts_over_the_size_of_the_face(make):
    codes = fake_codes(1)
    points = seen(codes)
    extent = points.amax(dim=0) - points.amin(dim=0)
    shift = torch.tensor([3.0, 4.0])
    store = make(
        [
            {"codes": codes, "landmarks": points},
            {"codes": codes, "landmarks": points + shift},
            {"codes": codes},
            {"landmarks": points},
        ]
    )
    errors = landmark_errors(store, FakeHead(), SIZE)
    expected = [0, 5 / math.sqrt(extent[0] * extent[1]), math.nan, math.nan]
    np.testing.assert_allclose(errors, expected, atol=1e-6)


def test_errors_are_measured_in_the_aligned_picture(make):
    """The crop is a window of the picture, enlarged: landmarks go back through its transform."""
    tform = torch.tensor([[[7.0, 0.0, -56.0], [0.0, 7.0, -70.0], [0.0, 0.0, 1.0]]])
    codes = fake_codes(1)
    in_crop = (project(FakeHead()(codes).landmarks2d, codes.cam)[0, :, :2] + 1) / 2 * 224
    aligned = (in_crop + torch.tensor([56.0, 70.0])) / 7 - 0.5
    store = make([{"codes": codes.replace(tform=tform), "landmarks": aligned}])
    np.testing.assert_allclose(landmark_errors(store, FakeHead(), SIZE), 0, atol=1e-5)


def test_faces_pass_all_tests_and_failures_are_counted(make):
    straight = turned((0, 0))
    points = seen(straight)
    good = {"codes": straight, "landmarks": points, "quality": {"score": 0.9}}
    store = make(
        [
            good,
            good | {"codes": turned((70, 0))},  # also its landmarks lie elsewhere
            good | {"quality": {"score": 0.1}},
            good | {"landmarks": points + 20, "quality": {"score": 0.2}},
            {"codes": straight},
            {"landmarks": points},
        ]
    )
    chosen = select_faces(store, min_score=0.5, max_yaw=60, max_error=0.2, face_model=FakeHead(), image_size=SIZE)
    assert chosen.indices.tolist() == [0, 4], "what is unknown of a face is not held against it"
    assert chosen.counts["no codes"] == 1
    assert chosen.counts["score below 0.5"] == 2
    assert chosen.counts["yaw above 60 degrees"] == 1
    assert chosen.counts["landmark error above 0.2"] >= 1
    assert select_faces(store).mask.tolist() == [True] * 5 + [False]


def test_what_a_store_lacks_is_named(make):
    store = make([{"codes": fake_codes(1)}])
    with pytest.raises(ValueError, match="none of its faces has 'quality_score'"):
        select_faces(store, min_score=0.5)
    with pytest.raises(ValueError, match="none of its faces has 'landmarks'"):
        select_faces(store, max_error=0.1, face_model=FakeHead())
    with pytest.raises(ValueError, match="face_model: max_error needs"):
        select_faces(store, max_error=0.1)
