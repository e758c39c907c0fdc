import cv2
import numpy as np
import pytest
import torch

from diffrig_emo.io.video import frame_rate, read_frames


@pytest.fixture
def clip(tmp_path):
    """Twelve frames, each brighter than the one before, red on the left."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (64, 48))
    for number in range(12):
        frame = np.full((48, 64, 3), number * 10, np.uint8)
        frame[:, :32, 2] = 250
        writer.write(frame)
    writer.release()
    return path


def test_frames_come_in_order_and_in_rgb(clip):
    frames = list(read_frames(clip))
    assert len(frames) == 12
    assert frames[0].shape == (3, 48, 64)
    levels = torch.stack([frame[1, :, 40:].mean() for frame in frames])
    torch.testing.assert_close(levels, torch.arange(12) * 10 / 255, atol=0.02, rtol=0)
    assert frames[0][0, :, :24].mean() > 0.9
    assert frame_rate(clip) == 25


def test_every_nth_frame(clip):
    frames = list(read_frames(clip))
    for a, b in zip(read_frames(clip, every=5), frames[::5], strict=True):
        assert torch.equal(a, b)


def test_a_clip_that_breaks_off_gives_what_it_has(clip):
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) * 2 // 3])
    assert 0 < len(list(read_frames(clip))) < 12


def test_bad_clips(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.mp4: expected a video clip, but there is no such file"):
        next(read_frames(tmp_path / "a.mp4"))
    for content in (b"", b"no clip at all" * 100):
        (tmp_path / "a.mp4").write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.mp4: expected a video clip"):
            next(read_frames(tmp_path / "a.mp4"))
    with pytest.raises(ValueError, match="every: expected 1 or more"):
        next(read_frames(tmp_path / "a.mp4", every=0))
