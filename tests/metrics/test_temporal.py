"""Jitter and flicker against numpy, OpenCV's remap, and motions whose answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from diffrig_emo.metrics import TemporalJitter, WarpingError
from diffrig_emo.metrics.functional import temporal_jitter, warping_error


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(2)


def test_jitter_is_numpys_second_difference(generator):
    points = torch.randn(9, 5, 2, generator=generator, dtype=torch.float64)
    wanted = np.linalg.norm(np.diff(points.numpy(), n=2, axis=0), axis=-1).mean(axis=1)
    np.testing.assert_allclose(temporal_jitter(points).numpy(), wanted, rtol=1e-12)
    codes = points.flatten(1)
    wanted = np.linalg.norm(np.diff(codes.numpy(), n=2, axis=0), axis=-1)
    np.testing.assert_allclose(temporal_jitter(codes).numpy(), wanted, rtol=1e-12)


def test_steady_motion_has_no_jitter_and_a_parabola_its_acceleration():
    time = torch.arange(6.0, dtype=torch.float64)[:, None]
    velocity, acceleration = torch.tensor([[3.0, -4.0]]).double(), torch.tensor([[0.6, 0.8]]).double()
    assert temporal_jitter(time * velocity).abs().max() < 1e-12
    path = time * velocity + 0.5 * time**2 * acceleration
    torch.testing.assert_close(temporal_jitter(path), torch.ones(4, dtype=torch.float64))


def test_white_noise_has_sqrt_6_times_its_mean_length(generator):
    noise = 0.3 * torch.randn(20000, 2, generator=generator)
    mean_length = np.sqrt(np.pi / 2)  # of a standard normal vector of two dimensions
    assert temporal_jitter(noise).mean().item() == pytest.approx(0.3 * np.sqrt(6) * mean_length, rel=0.02)


def test_clips_count_by_their_frames(generator):
    clips = [torch.randn(frames, 4, generator=generator) for frames in (3, 12)]
    metric = TemporalJitter()
    for clip in clips:
        metric.update(clip)
    each = torch.cat([temporal_jitter(clip) for clip in clips])
    assert len(each) == 1 + 10
    torch.testing.assert_close(metric.compute(), each.mean())


def smooth_clip(generator, frames=3, size=(20, 26)):
    coarse = torch.rand(frames, 3, 5, 6, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)


def test_static_difference_is_numpys(generator):
    frames = smooth_clip(generator)
    mask = torch.rand(2, 1, 20, 26, generator=generator) > 0.5
    values = warping_error(frames, mask=mask)
    for i, value in enumerate(values):
        squares = ((frames[i] - frames[i + 1]).double().numpy() ** 2).sum(axis=0)
        assert value.item() == pytest.approx(squares[mask[i, 0].numpy()].mean(), rel=1e-5)


def test_warping_error_is_opencvs_remap(generator):
    frames = smooth_clip(generator)
    flow = 2 * torch.randn(2, 2, 20, 26, generator=generator)
    rows, columns = np.mgrid[0:20, 0:26].astype(np.float32)
    for i, value in enumerate(warping_error(frames, flow)):
        x, y = columns + flow[i, 0].numpy(), rows + flow[i, 1].numpy()
        there = frames[i + 1].permute(1, 2, 0).numpy()
        moved = cv2.remap(there, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (x >= 0) & (x <= 25) & (y >= 0) & (y <= 19)
        squares = ((frames[i].permute(1, 2, 0).numpy() - moved) ** 2).sum(axis=-1)
        # OpenCV's weights have five bits.
        assert value.item() == pytest.approx(squares[inside].mean(), rel=0.02)


def test_a_clip_that_only_moves_has_no_error_along_its_motion(generator):
    scene = smooth_clip(generator, frames=1, size=(20, 30))[0]
    frames = torch.stack([scene[:, :, 4 - 2 * i : 24 - 2 * i] for i in range(3)])  # two pixels to the right a frame
    flow = torch.zeros(2, 2, 20, 20)
    flow[:, 0] = 2
    assert warping_error(frames, flow).max() < 1e-10
    assert warping_error(frames).min() > 1e-4
    assert warping_error(frames, -flow).min() > warping_error(frames).min(), "the flow points to the next frame"


def test_flicker_of_brightness_is_seen_whatever_the_motion():
    frames = torch.full((3, 3, 8, 8), 0.5)
    frames[1] += 0.1
    assert warping_error(frames, torch.full((2, 2, 8, 8), 1.5)).tolist() == pytest.approx([0.03, 0.03], rel=1e-5)


def test_pairs_without_pixels_do_not_count(generator):
    frames = smooth_clip(generator)
    mask = torch.ones(2, 1, 20, 26)
    mask[0] = 0
    metric = WarpingError()
    metric.update(frames, mask=mask)
    torch.testing.assert_close(metric.compute(), warping_error(frames)[1])
    assert warping_error(frames, torch.full((2, 2, 20, 26), 100.0)).isnan().all()


def test_gradients_reach_frames_and_track(generator):
    frames = smooth_clip(generator, size=(6, 6)).double().requires_grad_()
    flow = torch.randn(2, 2, 6, 6, generator=generator).double()
    assert torch.autograd.gradcheck(lambda f: warping_error(f, flow), frames, fast_mode=True)
    assert torch.autograd.gradcheck(temporal_jitter, torch.randn(5, 3).double().requires_grad_())


@pytest.mark.parametrize("track", [torch.zeros(2, 4), torch.zeros(5), torch.zeros(4, 2, dtype=torch.long)])
def test_a_track_that_is_none_is_refused(track):
    with pytest.raises(ValueError, match=r"track: expected codes .* at least three frames, got"):
        temporal_jitter(track)


def test_bad_clips_are_named(generator):
    frames = smooth_clip(generator)
    with pytest.raises(ValueError, match="at least two frames"):
        warping_error(frames[:1])
    with pytest.raises(ValueError, match=r"flow: expected shape \(2, 2, 20, 26\), one less than the frames"):
        warping_error(frames, torch.zeros(3, 2, 20, 26))
    with pytest.raises(ValueError, match=r"mask: expected shape \(2, 1, 20, 26\)"):
        warping_error(frames, mask=torch.ones(3, 1, 20, 26))
