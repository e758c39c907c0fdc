"""PSNR, SSIM and mean difference of pictures, over the whole picture or over a region of it.

Pure `_update` functions turn a batch into sums and counts, pure `_compute` functions turn those into the
figure; the classes in `diffrig_emo.metrics.image` accumulate what lies between them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

# SSIM's constants (Wang et al. 2004, section III-B): an 11x11 Gaussian of sigma 1.5, K1 = 0.01, K2 = 0.03.
_WINDOW = 11
_SIGMA = 1.5
_C1 = 0.01**2
_C2 = 0.03**2

# Rounding of a [0, 1] picture may leave this much outside; anything more is another range.
_RANGE_SLACK = 1e-4


def psnr(
    pred: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    mask: Shaped[Tensor, "batch 1 height width"] | None = None,
) -> Float[Tensor, " batch"]:
    """Peak signal-to-noise ratio of every picture: `-10 log10(MSE)`, for pictures in [0, 1].

    Args:
        pred: RGB in [0, 1].
        target: RGB in [0, 1].
        mask: boolean, or 1 where a pixel counts and 0 where it does not. None: all pixels count.

    Returns:
        Decibels; infinite for equal pixels, NaN for a picture whose mask is empty.

    Raises:
        ValueError: when shapes differ or a picture leaves [0, 1].

    Example:
        >>> target = torch.full((1, 3, 8, 8), 0.5)
        >>> psnr(target + 0.1, target).round(decimals=4).tolist()
        [20.0]
    """
    return _psnr_compute(*_psnr_update(pred, target, mask))


def _psnr_update(pred: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sum of squared errors and number of values, each (batch,)."""
    weight = _check_pictures(pred, target, mask)
    squares = (pred - target).square() * weight
    return squares.flatten(1).sum(1), weight.flatten(1).sum(1) * pred.shape[1]


def _psnr_compute(sum_squares: Tensor, count: Tensor) -> Tensor:
    return -10 * torch.log10(sum_squares / count)


def l1(
    pred: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    mask: Shaped[Tensor, "batch 1 height width"] | None = None,
) -> Float[Tensor, " batch"]:
    """Mean absolute difference of every picture, over channels and pixels.

    Args:
        pred: RGB in [0, 1].
        target: RGB in [0, 1].
        mask: boolean, or 1 where a pixel counts and 0 where it does not. None: all pixels count.

    Returns:
        Differences in units of the [0, 1] range; NaN for a picture whose mask is empty.

    Raises:
        ValueError: when shapes differ or a picture leaves [0, 1].

    Example:
        >>> target = torch.full((1, 3, 8, 8), 0.5)
        >>> l1(target - 0.25, target).tolist()
        [0.25]
    """
    weight = _check_pictures(pred, target, mask)
    return ((pred - target).abs() * weight).flatten(1).sum(1) / (weight.flatten(1).sum(1) * pred.shape[1])


def ssim(
    pred: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    mask: Shaped[Tensor, "batch 1 height width"] | None = None,
) -> Float[Tensor, " batch"]:
    """Structural similarity of every picture, for pictures in [0, 1].

    The similarity map of Wang et al. 2004 (equation 13, Gaussian window of 11 pixels and sigma 1.5, population
    covariance, each colour by itself) is averaged over the pixels whose whole window lies inside the picture
    and, with a mask, that the mask holds. scikit-image averages over the same pixels; torchmetrics also over
    the border, where it reflects the picture.

    Args:
        pred: RGB in [0, 1], at least 11 pixels high and wide.
        target: RGB in [0, 1].
        mask: boolean, or 1 where a pixel counts and 0 where it does not. None: all pixels count.

    Returns:
        Similarity, 1 for equal pictures; NaN for a picture whose mask is empty.

    Raises:
        ValueError: when shapes differ, a picture leaves [0, 1] or is smaller than the window.

    Example:
        >>> picture = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> ssim(picture, picture).round(decimals=4).tolist()
        [1.0, 1.0]
    """
    return _ssim_compute(*_ssim_update(pred, target, mask))


def _ssim_update(pred: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sum of the similarity map and number of its values, each (batch,)."""
    weight = _check_pictures(pred, target, mask)
    if min(pred.shape[-2:]) < _WINDOW:
        raise ValueError(
            f"pred: SSIM needs pictures of at least {_WINDOW} x {_WINDOW} pixels, got "
            f"{pred.shape[-2]} x {pred.shape[-1]}; resize them first"
        )
    edge = _WINDOW // 2
    weight = weight[..., edge:-edge, edge:-edge]
    similarity = _ssim_map(pred, target) * weight
    return similarity.flatten(1).sum(1), weight.flatten(1).sum(1) * pred.shape[1]


def _ssim_compute(sum_similarity: Tensor, count: Tensor) -> Tensor:
    return sum_similarity / count


def _ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """Similarity around each pixel whose window fits: (B, 3, H - 10, W - 10)."""
    channels = x.shape[1]
    offsets = torch.arange(_WINDOW, device=x.device, dtype=x.dtype) - _WINDOW // 2
    kernel = torch.softmax(-offsets.square() / (2 * _SIGMA**2), dim=0)
    vertical = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)

    def blur(picture: Tensor) -> Tensor:
        columns = F.conv2d(picture, vertical, groups=channels)
        return F.conv2d(columns, vertical.transpose(2, 3), groups=channels)

    mu_x, mu_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mu_x**2, blur(y * y) - mu_y**2
    cov_xy = blur(x * y) - mu_x * mu_y
    luminance = (2 * mu_x * mu_y + _C1) / (mu_x**2 + mu_y**2 + _C1)
    structure = (2 * cov_xy + _C2) / (var_x + var_y + _C2)
    return luminance * structure


def changed_mask(
    source: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    threshold: float = 8 / 255,
) -> Bool[Tensor, "batch 1 height width"]:
    """Pixels that an edit changes: those where any channel differs by more than `threshold`.

    Args:
        source: the picture before the edit, RGB in [0, 1].
        target: the picture after it, RGB in [0, 1].
        threshold: least difference of a channel, in units of the [0, 1] range.

    Raises:
        ValueError: when shapes differ or a picture leaves [0, 1].

    Example:
        >>> source = torch.zeros(1, 3, 1, 2)
        >>> target = source.clone()
        >>> target[0, 1, 0, 0] = 0.1
        >>> changed_mask(source, target).tolist()
        [[[[True, False]]]]
    """
    _check_pictures(source, target, None, names=("source", "target"))
    return ((source - target).abs() > threshold).any(dim=1, keepdim=True)


def edit_regions(
    source: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    face: Shaped[Tensor, "batch 1 height width"],
    threshold: float = 8 / 255,
) -> dict[str, Bool[Tensor, "batch 1 height width"]]:
    """The four regions over which an edit is judged.

    Args:
        source: the picture before the edit, RGB in [0, 1].
        target: the true picture after it, RGB in [0, 1].
        face: where the face is before or after the edit (union of the two coverages), boolean or 0 and 1.
        threshold: see `changed_mask`.

    Returns:
        `whole`: every pixel; `face`; `changed`: what the true edit changes; `rest`: neither face nor changed.

    Raises:
        ValueError: when shapes differ or a picture leaves [0, 1].
    """
    changed = changed_mask(source, target, threshold)
    inside = _check_pictures(source, target, face, names=("source", "target", "face")) > 0
    return {"whole": torch.ones_like(changed), "face": inside, "changed": changed, "rest": ~(inside | changed)}


def _check_pictures(
    pred: Tensor, target: Tensor, mask: Tensor | None, names: tuple[str, ...] = ("pred", "target", "mask")
) -> Tensor:
    """Reject what cannot be compared; return the mask as weights of the pictures' dtype."""
    for name, picture in zip(names, (pred, target), strict=False):
        if picture.ndim != 4 or picture.shape[1] != 3 or not picture.is_floating_point():
            raise ValueError(
                f"{name}: expected a float tensor of shape (batch, 3, height, width), got "
                f"{str(picture.dtype).removeprefix('torch.')} {tuple(picture.shape)}"
            )
        if picture.numel() == 0:
            raise ValueError(f"{name}: expected at least one picture, got shape {tuple(picture.shape)}")
        low, high = (float(v) for v in picture.detach().aminmax())
        if not (low >= -_RANGE_SLACK and high <= 1 + _RANGE_SLACK):
            raise ValueError(
                f"{name}: expected a picture in [0, 1], got values from {low:.4g} to {high:.4g}; "
                "convert network outputs with to_unit and clamp them, as when they are saved"
            )
    if pred.shape != target.shape:
        raise ValueError(
            f"{names[0]} and {names[1]}: expected equal shapes, got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    wanted = (pred.shape[0], 1, *pred.shape[2:])
    if mask is None:
        return pred.new_ones(wanted)
    if mask.shape != wanted:
        raise ValueError(f"{names[2]}: expected shape {wanted}, got {tuple(mask.shape)}")
    return mask.to(pred.dtype)
