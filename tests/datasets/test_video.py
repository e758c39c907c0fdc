import cv2
import numpy as np
import pytest
import torch

from diffrig_emo.datasets.detectors import DetectedFaces, FaceDetector
from diffrig_emo.datasets.photos import NoFaceError
from diffrig_emo.datasets.video import (
    FaceTrack,
    crop_video,
    find_cuts,
    share_shape,
    smooth_codes,
    smooth_track,
    track_face,
)
from diffrig_emo.structures import FaceCodes, StructError

COUNT, SIDE = 24, 40


class BrightSquares(FaceDetector):
    """Takes bright squares for faces, measures them with an error, and misses some frames."""

    def __init__(self, missed=(), error=0.0, landmarks=False):
        self.missed, self.error, self.landmarks = missed, error, landmarks
        self.frame = -1
        self.random = np.random.default_rng(0)

    def __call__(self, photo):
        self.frame += 1
        count, _, found, _ = cv2.connectedComponentsWithStats((photo[1] > 0.7).byte().numpy())
        found = found[[i for i in range(1, count) if found[i, 4] > 100]]
        if self.frame in self.missed:
            found = found[:0]
        boxes = torch.tensor([[x, y, x + w - 1, y + h - 1] for x, y, w, h, _ in found.tolist()]).reshape(-1, 4).float()
        boxes = boxes + torch.from_numpy(self.random.normal(0, self.error, boxes.shape)).float()
        if not self.landmarks:
            return DetectedFaces(boxes, torch.ones(len(boxes)), "bbox")
        points = torch.zeros(68, 2)
        points[0], points[16], points[8] = torch.tensor([[0.0, 0.3], [1.0, 0.3], [0.5, 1.0]])
        points[36:42], points[42:48] = torch.tensor([[0.3, 0.3], [0.7, 0.3]])
        points[48:] = torch.tensor([0.5, 0.8])
        low, high = boxes[:, None, :2], boxes[:, None, 2:]
        return DetectedFaces.from_landmarks(low + points * (high - low))


def centre(number):
    return 60 + 4 * number, 70 + 0.1 * number**2


@pytest.fixture
def clip(tmp_path):
    """A square face that moves evenly to the right and faster and faster down, and a smaller one that stays."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (256, 192))
    for number in range(COUNT):
        frame = np.full((192, 256, 3), 40, np.uint8)
        x, y = (round(c - SIDE / 2) for c in centre(number))
        frame[y : y + SIDE, x : x + SIDE] = 230
        frame[10:30, 10:30] = 230
        writer.write(frame)
    writer.release()
    return path


def boxes_along(noise=0.0):
    random = np.random.default_rng(1)
    rows = [[x - 20, y - 20, x + 20, y + 20] for x, y in map(centre, range(COUNT))]
    return torch.tensor(rows) + torch.from_numpy(random.normal(0, noise, (COUNT, 4))).float()


def test_what_moves_evenly_or_speeds_up_evenly_stays_as_it_is():
    boxes = boxes_along()
    track = smooth_track(FaceTrack(boxes, torch.ones(COUNT), "bbox"), 9)
    torch.testing.assert_close(track.boxes, boxes, atol=1e-3, rtol=0)


def test_trembling_is_calmed():
    boxes, truth = boxes_along(noise=2.0), boxes_along()
    calmed = smooth_track(FaceTrack(boxes, torch.ones(COUNT), "bbox"), 9).boxes
    assert (calmed - truth).square().mean() < 0.5 * (boxes - truth).square().mean()
    assert calmed.diff(n=2, dim=0).abs().mean() < 0.3 * boxes.diff(n=2, dim=0).abs().mean()


def test_gaps_are_filled_on_a_line_and_ends_with_the_nearest():
    boxes = torch.arange(6.0)[:, None].repeat(1, 4)
    boxes[[0, 2, 3]] = float("nan")
    track = FaceTrack(boxes, torch.ones(6), "bbox")
    assert track.found.tolist() == [False, True, False, False, True, True]
    assert smooth_track(track, 1).boxes[:, 0].tolist() == [1, 1, 2, 3, 4, 5]


def test_short_clips_and_bad_windows():
    one = FaceTrack(boxes_along()[:1], torch.ones(1), "bbox")
    assert torch.equal(smooth_track(one, 9).boxes, one.boxes)
    four = FaceTrack(boxes_along()[:4], torch.ones(4), "bbox")
    assert torch.isfinite(smooth_track(four, 9).boxes).all()
    for window in (0, 4):
        with pytest.raises(ValueError, match="window: expected an odd number"):
            smooth_track(one, window)
    with pytest.raises(ValueError, match="expected a face in one frame"):
        smooth_track(FaceTrack(one.boxes * float("nan"), torch.zeros(1), "bbox"))


@pytest.mark.parametrize("landmarks", [False, True])
def test_crops_follow_the_face(clip, landmarks):
    crops = list(crop_video(clip, 96, BrightSquares(missed=(5, 6, 20), error=0.5, landmarks=landmarks), 64))
    assert len(crops) == COUNT
    assert [number for number, crop in enumerate(crops) if crop.quality["score"].item() == 0] == [5, 6, 20]
    to_crop = [crop.tform[0] @ crop.photo_to_aligned[0] for crop in crops]
    places = torch.stack([m @ torch.tensor([*centre(i), 1.0]) for i, m in enumerate(to_crop)])[:, :2]
    assert places.std(dim=0).max() < 2.0, "the face keeps its place in the crop"
    assert crops[0].image[0, :, 26:38, 26:38].mean() > 0.8
    aligned = [crop.photo_to_aligned[0, 0, 0].item() for crop in crops]
    assert (max(aligned) / min(aligned) > 1.0) == landmarks, "a window does not zoom"


def test_the_policy_chooses_whom_to_follow(clip):
    (first, *_) = crop_video(clip, 96, BrightSquares(), 64, face_policy=0)
    place = first.tform[0] @ first.photo_to_aligned[0] @ torch.tensor([19.5, 19.5, 1.0])
    assert (place[:2] - 32).abs().max() < 8, "the small face, far left"
    crops = list(crop_video(clip, 96, BrightSquares(), 64, every=4))
    assert len(crops) == COUNT // 4


def test_a_face_that_was_hidden_for_long_may_be_anywhere():
    def frames(number):
        picture = torch.zeros(3, 60, 120)
        x = 10 if number < 5 else 80
        picture[:, 20:40, x : x + 20] = 1
        return picture

    near = track_face((frames(i) for i in range(12)), BrightSquares())
    assert near.found.tolist() == [True] * 5 + [False] * 7
    later = track_face((frames(i) for i in range(30)), BrightSquares())
    assert later.found.tolist()[-6:] == [True] * 6
    assert later.boxes[-1, 0] == 80


def test_a_clip_without_a_face(clip):
    with pytest.raises(NoFaceError, match=rf"clip\.avi: no face was found in {COUNT} frames"):
        next(crop_video(clip, 96, BrightSquares(missed=range(100))))


def test_one_shape_for_all_frames():
    codes = FaceCodes.zeros(3, n_shape=4, n_tex=1, n_exp=2, space="s")
    codes = codes.replace(shape=torch.randn(3, 4), exp=torch.randn(3, 2))
    shared = share_shape(codes)
    torch.testing.assert_close(shared.shape, codes.shape.mean(0).expand(3, 4))
    assert torch.equal(shared.exp, codes.exp)
    with pytest.raises(StructError):
        shared.require_space("other")


def test_codes_are_calmed_and_the_person_stays_one():
    count = 30
    codes = FaceCodes.zeros(count, n_shape=2, n_tex=2, n_exp=2, space="s")
    times = torch.arange(float(count))
    truth = torch.stack([0.05 * times, 0.002 * times**2], dim=1)
    noise = 0.2 * torch.randn(count, 2, generator=torch.Generator().manual_seed(0))
    shape = torch.randn(count, 2, generator=torch.Generator().manual_seed(1))
    found = torch.ones(count, dtype=torch.bool)
    found[10:13] = False
    wrong = truth + noise
    wrong[10:13] = 100.0
    calm = smooth_codes(codes.replace(exp=wrong, shape=shape), found, 9)
    assert (calm.exp - truth).square().mean() < 0.5 * noise.square().mean()
    torch.testing.assert_close(calm.shape, shape[found].mean(0).expand(count, 2))
    still = smooth_codes(codes.replace(exp=truth), torch.ones(count, dtype=torch.bool), 9)
    torch.testing.assert_close(still.exp, truth, atol=1e-4, rtol=0)
    for bad, message in (({"window": 4}, "odd"), ({"found": ~torch.ones(count, dtype=torch.bool)}, "at least")):
        with pytest.raises(ValueError, match=message):
            smooth_codes(**{"codes": codes, "found": found, **bad})


def test_cuts_are_found_and_motion_is_none():
    random = torch.Generator().manual_seed(0)
    small = torch.rand(2, 3, 3, 3, generator=random)
    first, second = torch.nn.functional.interpolate(small, (96, 96), mode="bilinear")
    moving = [torch.roll(first, 2 * i, 2) for i in range(12)]
    other = [second] * 5
    assert find_cuts(iter(moving)) == []
    assert find_cuts([*moving, *other]) == [12]
    assert find_cuts([*moving[:6], *other, *moving[6:]]) == [6, 11]
    assert find_cuts([*moving[:6], *other[:2], *moving[6:]]) == [], "a flash"
    assert find_cuts(moving[:1]) == []
