"""Steadiness of clips: jitter of codes and landmarks, flicker of pictures."""

from __future__ import annotations

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F


def temporal_jitter(track: Float[Tensor, "frames *points dims"]) -> Float[Tensor, " frames_minus_2"]:
    """Jitter of a clip: length of the second difference, `|x_{t+1} - 2 x_t + x_{t-1}|`, averaged over the points.

    Steady motion has none, whatever its speed; white noise of deviation s has `s sqrt(6)` times the mean length of a
    standard normal vector. Compare an edited clip with its source, whose own jitter is the floor.

    Args:
        track: codes (frames, dims), or landmarks (frames, points, 2), of one clip without cuts, in order.

    Returns:
        One number for each frame but the first and the last, in units of the track per frame squared.

    Raises:
        ValueError: when there are fewer than three frames, or no dimension.

    Example:
        >>> still = torch.zeros(4, 68, 2)
        >>> still[2, :, 0] = 1.0  # all points jump by a pixel in the third frame
        >>> temporal_jitter(still).tolist()
        [1.0, 2.0]
    """
    if track.ndim < 2 or len(track) < 3 or not track.is_floating_point():
        raise ValueError(
            "track: expected codes (frames, dims) or landmarks (frames, points, 2) of at least three frames, got "
            f"{str(track.dtype).removeprefix('torch.')} {tuple(track.shape)}"
        )
    second = track[2:] - 2 * track[1:-1] + track[:-2]
    lengths: Tensor = torch.linalg.vector_norm(second, dim=-1).reshape(len(second), -1)
    return lengths.mean(dim=1)


def warping_error(
    frames: Float[Tensor, "frames 3 height width"],
    flow: Float[Tensor, "pairs 2 height width"] | None = None,
    mask: Shaped[Tensor, "pairs 1 height width"] | None = None,
) -> Float[Tensor, " pairs"]:
    """Flicker of a clip: squared difference between each frame and the next one, brought back along the motion.

    `sum_x M(x) |I_t(x) - I_{t+1}(x + f(x))|^2 / sum_x M(x)`, the squared length taken over the three channels (Lai et
    al. 2018, "Learning Blind Video Temporal Consistency"). Without a flow nothing is taken to move: the static
    difference, for backgrounds of a camera that stands still.

    Args:
        frames: one clip in order, RGB in [0, 1].
        flow: for each frame but the last, where its pixels are in the next one: (x, y) to add, in pixels. Take it from
            the source clip, or from the face model, so that a result that flickers cannot bend it.
        mask: for each frame but the last, boolean, or 1 where a pixel counts: neither occluded in the next frame nor,
            without a flow, on the face. Pixels that leave the picture never count.

    Returns:
        One number per pair of neighbours, in squared units of the [0, 1] range; NaN where no pixel counts.

    Raises:
        ValueError: when there are fewer than two frames or shapes disagree.

    Example:
        >>> frames = torch.zeros(3, 3, 4, 4)
        >>> frames[1] = 0.5  # a flash
        >>> warping_error(frames).tolist()
        [0.75, 0.75]
    """
    pairs = len(frames) - 1
    if frames.ndim != 4 or frames.shape[1] != 3 or pairs < 1 or not frames.is_floating_point():
        raise ValueError(
            "frames: expected a clip (frames, 3, height, width) of at least two frames, floating point, got "
            f"{str(frames.dtype).removeprefix('torch.')} {tuple(frames.shape)}"
        )
    height, width = frames.shape[2:]
    for name, given, channels in (("flow", flow, 2), ("mask", mask, 1)):
        if given is not None and given.shape != (pairs, channels, height, width):
            raise ValueError(
                f"{name}: expected shape {(pairs, channels, height, width)}, one less than the frames, got "
                f"{tuple(given.shape)}"
            )
    now, then = frames[:-1], frames[1:]
    weight = torch.ones_like(now[:, :1]) if mask is None else mask.to(now.dtype)
    if flow is not None:
        then, inside = _follow(then, flow.to(now.dtype))
        weight = weight * inside
    squares = (now - then).square().sum(dim=1, keepdim=True)
    return (squares * weight).flatten(1).sum(dim=1) / weight.flatten(1).sum(dim=1)


def _follow(image: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures sampled where the flow leads, and where that is inside them."""
    height, width = image.shape[2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=image.device, dtype=image.dtype),
        torch.arange(width, device=image.device, dtype=image.dtype),
        indexing="ij",
    )
    x, y = columns + flow[:, 0], rows + flow[:, 1]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    taken = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return taken, inside[:, None].to(image.dtype)
