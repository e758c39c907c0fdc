import math

import pytest
import torch

from diffrig_emo.perception import FaceAugmentation

STILL = {"flip": 0, "rotation": 0, "scale": 0, "shift": 0, "brightness": 0, "contrast": 0, "noise": 0}


def dot(row, column, size=41):
    image = torch.zeros(64, 3, size, size)
    image[:, :, row - 1 : row + 2, column - 1 : column + 2] = 1
    return image


def centres(image):
    """Where the dot is, relative to the middle, in half sides."""
    mass = image.mean(dim=1)
    axis = (torch.arange(image.shape[-1]) + 0.5) * 2 / image.shape[-1] - 1
    total = mass.sum(dim=(1, 2))
    return torch.stack([(mass.sum(dim=1) * axis).sum(1) / total, (mass.sum(dim=2) * axis).sum(1) / total], dim=1)


def test_nothing_asked_changes_nothing():
    image = torch.rand(2, 3, 9, 9)
    torch.testing.assert_close(FaceAugmentation(**STILL)(image), image, atol=1e-5, rtol=0)


def test_eval_mode_changes_nothing():
    image = torch.rand(2, 3, 9, 9)
    assert FaceAugmentation().eval()(image) is image


def test_a_turn_keeps_the_distance_and_stays_within_its_angle():
    points = centres(FaceAugmentation(**{**STILL, "rotation": 30})(dot(20, 30)))
    torch.testing.assert_close(points.norm(dim=1), centres(dot(20, 30)).norm(dim=1), atol=0.01, rtol=0)
    angles = torch.atan2(points[:, 1], points[:, 0]).abs()
    assert math.radians(20) < angles.max() < math.radians(31)


def test_zoom_and_shift_stay_within_their_limits():
    distances = centres(FaceAugmentation(**{**STILL, "scale": 0.2})(dot(20, 30)))[:, 0] / centres(dot(20, 30))[:, 0]
    assert 1 / 1.21 < distances.min() < 0.95
    assert 1.05 < distances.max() < 1 / 0.79
    moved = centres(FaceAugmentation(**{**STILL, "shift": 0.1})(dot(20, 20)))
    assert 0.1 < moved.abs().max() < 0.21  # 0.1 of the side is 0.2 of half of it


def test_half_of_the_faces_are_mirrored_when_half_is_asked():
    left = centres(FaceAugmentation(**{**STILL, "flip": 0.5})(dot(20, 30)))[:, 0] < 0
    assert 16 < left.sum() < 48


def test_the_result_stays_in_range_and_depends_on_the_seed_alone():
    image = torch.rand(4, 3, 9, 9)
    change = FaceAugmentation(brightness=1.0, contrast=1.0, noise=0.5)
    torch.manual_seed(3)
    first = change(image)
    assert first.min() >= 0
    assert first.max() <= 1
    torch.manual_seed(3)
    assert torch.equal(change(image), first)
    assert not torch.equal(change(image), first)


def test_every_face_gets_its_own_draw():
    faces = FaceAugmentation()(torch.rand(1, 3, 9, 9).expand(2, -1, -1, -1))
    assert not torch.equal(faces[0], faces[1])


def test_impossible_numbers_are_named():
    with pytest.raises(ValueError, match="flip: expected a number from 0 to 1, got 2"):
        FaceAugmentation(flip=2)
