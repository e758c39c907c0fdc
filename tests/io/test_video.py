import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from diffrig_emo.io.video import frame_rate, read_frames, write_frames


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


@pytest.fixture
def pictures():
    """Ten frames: a white bar goes from left to right over a blue ground."""
    frames = torch.zeros(10, 3, 32, 48)
    frames[:, 2] = 0.5
    for number in range(10):
        frames[number, :, :, 4 * number : 4 * number + 8] = 1
    return frames


def test_mp4_is_h264_that_others_decode(tmp_path, pictures):
    write_frames(tmp_path / "a.mp4", iter(pictures), rate=12.5)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    with av.open(str(tmp_path / "a.mp4")) as clip:
        stream = clip.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, float(stream.average_rate)) == (48, 32, 12.5)
        decoded = [frame.to_ndarray(format="rgb24") for frame in clip.decode(stream)]
    assert len(decoded) == 10
    by_opencv = list(read_frames(tmp_path / "a.mp4"))
    assert len(by_opencv) == 10
    for wanted, got, other in zip(pictures, decoded, by_opencv, strict=True):
        assert (torch.from_numpy(got).permute(2, 0, 1) / 255 - wanted).abs().mean() < 0.03
        assert (other - wanted).abs().mean() < 0.03


def test_gif_that_pillow_reads(tmp_path, pictures):
    write_frames(tmp_path / "a.gif", iter(pictures), rate=20)
    with Image.open(tmp_path / "a.gif") as clip:
        assert (clip.n_frames, clip.size, clip.info["duration"], clip.info["loop"]) == (10, (48, 32), 50, 0)
        for number, wanted in enumerate(pictures):
            clip.seek(number)
            got = torch.from_numpy(np.array(clip.convert("RGB"))).permute(2, 0, 1) / 255
            assert (got - wanted).abs().max() < 0.02


def test_frames_that_make_no_clip(tmp_path):
    for name, frames, message in [
        ("a.avi", [torch.zeros(3, 8, 8)], r"a\.avi: expected a name that ends in \.mp4 or \.gif, got '\.avi'"),
        ("a.mp4", [], "expected at least one, got none"),
        ("a.mp4", [torch.zeros(3, 8, 9)], "expected an even height and width, got 8 x 9"),
        (
            "a.gif",
            [torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)],
            r"expected \(3, 8, 8\) like the first, got \(3, 8, 9\)",
        ),
        ("a.gif", [torch.zeros(8, 8, 3)], r"expected \(3, height, width\), got \(8, 8, 3\) as number 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            write_frames(tmp_path / name, frames)
    with pytest.raises(ValueError, match="rate: expected a positive number"):
        write_frames(tmp_path / "a.gif", [torch.zeros(3, 8, 8)], rate=0)
    assert not list(tmp_path.iterdir())
