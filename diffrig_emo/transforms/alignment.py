"""FFHQ's alignment of a face, and its inverse: pasting an edited face back into the photograph.

Karras et al. 2018, "A Style-Based Generator Architecture for GANs", appendix; DiffusionRig and DiffAE align alike.
Pixel coordinates put integers at pixel centres.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from diffrig_emo.transforms.crop import warp
from diffrig_emo.transforms.resizing import resize_picture


def ffhq_quad(landmarks: Float[Tensor, "68 2"]) -> Float[Tensor, "4 2"]:
    """Corners of the square that FFHQ's alignment cuts out of a photo.

    With e the middle of the eyes, u from the right eye to the left one (the subject's), v from e to the middle of the
    mouth's corners, and R the quarter turn `R(a, b) = (-b, a)`: the square's centre is `e + 0.1 v`, and half its side,
    as a vector to the right, is `x = u - R v` brought to the length `max(2 |u|, 1.8 |v|)`.

    Args:
        landmarks: the 68 points (Multi-PIE order), pixels of the photo.

    Returns:
        Upper left, lower left, lower right, upper right corner, float64, pixels of the photo.

    Raises:
        ValueError: when the points are not finite or all in one place.

    Example:
        >>> points = torch.zeros(68, 2)
        >>> points[36:42], points[42:48] = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
        >>> points[48], points[54] = torch.tensor([[-1.0, 4.0], [1.0, 4.0]])
        >>> ffhq_quad(points).round(decimals=3).tolist()
        [[-8.0, -7.6], [-8.0, 8.4], [8.0, 8.4], [8.0, -7.6]]
    """
    if landmarks.shape != (68, 2):
        raise ValueError(f"landmarks: expected a tensor of shape (68, 2), got {tuple(landmarks.shape)}")
    points = landmarks.detach().cpu().double()
    right_eye, left_eye, mouth = points[36:42].mean(0), points[42:48].mean(0), (points[48] + points[54]) / 2
    eyes = (right_eye + left_eye) / 2
    u, v = left_eye - right_eye, mouth - eyes
    x = torch.stack([u[0] + v[1], u[1] - v[0]])
    length = torch.linalg.vector_norm(x)
    if not (torch.isfinite(points).all() and length > 0):
        raise ValueError("landmarks: expected finite eyes and mouth in different places; this is no face")
    x = x / length * max(2 * torch.linalg.vector_norm(u), 1.8 * torch.linalg.vector_norm(v))
    y = torch.stack([-x[1], x[0]])
    centre = eyes + 0.1 * v
    return torch.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def is_ffhq_aligned(landmarks: Float[Tensor, "68 2"], photo_size: tuple[int, int], tolerance: float = 0.1) -> bool:
    """Whether a photo is a square that this alignment has cut already.

    Args:
        landmarks: the 68 points, pixels of the photo.
        photo_size: its (height, width).
        tolerance: how far each corner of `ffhq_quad` may lie from the photo's, relative to its side. Another landmark
            detector than the one that it was aligned by moves them by a few hundredths.

    Raises:
        ValueError: when the points are not finite or all in one place.
    """
    height, width = photo_size
    corners = torch.tensor([[0, 0], [0, 1], [1, 1], [1, 0]], dtype=torch.float64) * height - 0.5
    away = torch.linalg.vector_norm(ffhq_quad(landmarks) - corners, dim=1)
    return height == width and bool(away.max() <= tolerance * height)


def align_ffhq(
    photo: Float[Tensor, "3 height width"], landmarks: Float[Tensor, "68 2"], size: int, transform_size: int = 4096
) -> tuple[Float[Tensor, "3 3"], Float[Tensor, "3 size size"]]:
    """Turn, cut and resize a face as FFHQ does, step by step the same.

    A large face is shrunk first; where the square leaves the photo, its border is reflected, blurred and faded to the
    photo's median colour; then the square is sampled at `transform_size` and brought to `size` by Lanczos' filter.

    Args:
        photo: RGB in [0, 1]; taken as 8 bits.
        landmarks: the 68 points, pixels of the photo.
        size: side of the result in pixels; FFHQ has 1024, DiffusionRig 256.
        transform_size: side of the first sampling; the published pictures have 4096.

    Returns:
        Map from pixels of the photo to pixels of the result (a similarity, but for the rounding of the shrunk photo's
        sides), and the result, RGB in [0, 1].

    Raises:
        ValueError: when the points are no face or lie outside the photo, or `size` exceeds `transform_size`.
    """
    if not 1 <= size <= transform_size:
        raise ValueError(f"size: expected 1 to transform_size={transform_size}, got {size}")
    tform = ffhq_tform(landmarks, (photo.shape[1], photo.shape[2]), size)
    return tform, cut_ffhq(photo, tform, size, transform_size)


def ffhq_tform(landmarks: Float[Tensor, "68 2"], photo_size: tuple[int, int], size: int) -> Float[Tensor, "3 3"]:
    """Where FFHQ's alignment puts a face: the map that `align_ffhq` returns, without the picture.

    Args:
        landmarks: the 68 points, pixels of the photo.
        photo_size: (height, width) of the photo.
        size: side of the aligned picture in pixels.

    Raises:
        ValueError: when the points are no face or lie outside the photo.
    """
    quad = ffhq_quad(landmarks).numpy()
    height, width = photo_size
    if (quad.mean(0) < -0.5).any() or (quad.mean(0) > np.array([width, height]) - 0.5).any():
        raise ValueError(
            f"landmarks: expected a face in the photo of {width}x{height} pixels, got one around "
            f"({quad[:, 0].mean():.0f}, {quad[:, 1].mean():.0f})"
        )
    shrink = max(1, int(_side(quad) / size * 0.5))
    return _photo_to_aligned(quad / shrink, _zoom(photo_size, shrink), size)


def cut_ffhq(
    photo: Float[Tensor, "3 height width"],
    photo_to_aligned: Float[Tensor, "3 3"],
    size: int,
    transform_size: int = 4096,
) -> Float[Tensor, "3 size size"]:
    """Cut a square out of a photo as FFHQ's alignment does, borders included, where the square is known.

    The picture depends on the map alone: cut again by the map that was kept, it is the same, bit for bit.

    Args:
        photo: RGB in [0, 1]; taken as 8 bits.
        photo_to_aligned: map from pixels of the photo to pixels of the result, of `ffhq_tform` or `align_ffhq`.
        size: side of the result in pixels.
        transform_size: side of the first sampling; see `align_ffhq`.

    Returns:
        RGB in [0, 1].

    Raises:
        ValueError: when the map cannot be inverted, or its square lies outside the photo.
    """
    height, width = photo.shape[1:]
    tform = photo_to_aligned.detach().cpu().double().numpy()
    if not (np.isfinite(tform).all() and abs(np.linalg.det(tform)) > 1e-12):
        raise ValueError("photo_to_aligned: expected an invertible map, got one that is not")
    low, high = -0.5, size - 0.5
    corners = np.linalg.inv(tform) @ np.array([[low, low, high, high], [low, high, high, low], [1, 1, 1, 1]])
    quad = corners[:2].T
    if (quad.max(0) < 0).any() or (quad.min(0) > np.array([width, height]) - 1).any():
        raise ValueError(
            f"photo_to_aligned: expected a square in the photo of {width}x{height} pixels, got one around "
            f"({quad[:, 0].mean():.0f}, {quad[:, 1].mean():.0f})"
        )
    image = Image.fromarray((photo.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())
    shrink, quad = _shrink(quad, (height, width), size)
    if shrink > 1:
        image = image.resize((round(width / shrink), round(height / shrink)), Image.Resampling.LANCZOS)
    side = _side(quad)
    margin = max(round(side * 0.1), 3)
    image, cut = _cut(image, quad, margin)
    image, padded = _pad(image, quad - cut, side, margin)
    taken = (quad + (padded - cut) + 0.5).flatten().tolist()
    image = image.transform((transform_size,) * 2, Image.Transform.QUAD, taken, Image.Resampling.BILINEAR)
    if size < transform_size:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def paste_aligned(
    aligned: Float[Tensor, "3 size size"],
    photo_to_aligned: Float[Tensor, "3 3"],
    photo: Float[Tensor, "3 height width"],
    border: float = 0.1,
) -> Float[Tensor, "3 height width"]:
    """Put an aligned picture, edited perhaps, back into its photo.

    The paste fades in from the square's edge. Where the square leaves the photo it fades in from the photo's edge too,
    for there the alignment has blurred what it shows.

    Args:
        aligned: RGB in [0, 1].
        photo_to_aligned: map from pixels of the photo to pixels of `aligned`, from `align_ffhq` or `FaceCrop`.
        photo: RGB in [0, 1].
        border: width of the fade, relative to the square's side; above 0, at most 0.5.

    Returns:
        A new photo; outside the square it is the old one, bit for bit.

    Raises:
        ValueError: when `border` is out of range, or the map cannot be inverted.

    Example:
        >>> photo, edited = torch.zeros(3, 8, 8), torch.ones(3, 4, 4)
        >>> there = torch.tensor([[1.0, 0, -2], [0, 1, -2], [0, 0, 1]])
        >>> paste_aligned(edited, there, photo, border=0.1)[0, 3].tolist()
        [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]
    """
    placed = _place(aligned, photo_to_aligned, photo, border)
    pasted = photo.clone()
    if placed is not None:
        region = pasted[:, placed.rows, placed.columns]
        region += placed.weight * (placed.picture - region)
    return pasted


def paste_difference(
    edited: Float[Tensor, "3 size size"],
    aligned: Float[Tensor, "3 size size"],
    photo_to_aligned: Float[Tensor, "3 3"],
    photo: Float[Tensor, "3 height width"],
    border: float = 0.1,
) -> Float[Tensor, "3 height width"]:
    """Add to a photo what an edit has changed in its aligned picture: the photo keeps its own fineness.

    Pores, hairs and grain that the small aligned picture cannot show stay where `paste_aligned` would replace them.
    The change fades in from the square's edge, and from the photo's, as there.

    Args:
        edited: the aligned picture after the edit, RGB in [0, 1].
        aligned: the same before it.
        photo_to_aligned: map from pixels of the photo to pixels of `aligned`, from `align_ffhq` or `FaceCrop`.
        photo: RGB in [0, 1].
        border: width of the fade, relative to the square's side; above 0, at most 0.5.

    Returns:
        A new photo in [0, 1]; outside the square, and wherever nothing was changed, it is the old one, bit for bit.

    Raises:
        ValueError: when `border` is out of range, the map cannot be inverted, or the two pictures differ in size.

    Example:
        >>> photo, before = torch.full((3, 8, 8), 0.5), torch.zeros(3, 4, 4)
        >>> there = torch.tensor([[1.0, 0, -2], [0, 1, -2], [0, 0, 1]])
        >>> paste_difference(before + 0.25, before, there, photo)[0, 3].tolist()
        [0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 0.5, 0.5]
    """
    if edited.shape != aligned.shape:
        raise ValueError(
            f"edited: expected the size of the picture before the edit, {tuple(aligned.shape)}, got "
            f"{tuple(edited.shape)}"
        )
    placed = _place(edited - aligned.to(edited), photo_to_aligned, photo, border)
    pasted = photo.clone()
    if placed is not None:
        region = pasted[:, placed.rows, placed.columns]
        change = placed.weight * placed.picture
        region.copy_(torch.where(change == 0, region, (region + change).clamp(0, 1)))
    return pasted


class _Placed(NamedTuple):
    """An aligned picture where it lies in its photo."""

    rows: slice
    columns: slice
    picture: Tensor
    """Sampled at the photo's pixels (3, rows, columns)."""
    weight: Tensor
    """How much it counts there, 0 to 1 (rows, columns)."""


def _place(
    aligned: Float[Tensor, "3 size size"],
    photo_to_aligned: Float[Tensor, "3 3"],
    photo: Float[Tensor, "3 height width"],
    border: float,
) -> _Placed | None:
    """Bring an aligned picture to the photo's pixels; None where its square lies outside the photo."""
    if not 0 < border <= 0.5:
        raise ValueError(f"border: expected more than 0 and at most 0.5 of the square's side, got {border}")
    size, (height, width) = aligned.shape[-1], photo.shape[1:]
    tform = photo_to_aligned.detach().cpu().double()
    zoom = float(torch.linalg.det(tform[:2, :2]).abs().sqrt())
    if not (torch.isfinite(tform).all() and zoom > 0):
        raise ValueError("photo_to_aligned: expected an invertible map, got one that is not")
    inverse = torch.linalg.inv(tform)
    ends = torch.tensor([-0.5, size - 0.5], dtype=torch.float64)
    corners = torch.cartesian_prod(ends, ends) @ inverse[:2, :2].T + inverse[:2, 2]
    (left, top), (right, bottom) = corners.amin(0).tolist(), corners.amax(0).tolist()
    x_0, y_0 = max(0, math.floor(left)), max(0, math.floor(top))
    x_1, y_1 = min(width, math.ceil(right) + 1), min(height, math.ceil(bottom) + 1)
    if x_0 >= x_1 or y_0 >= y_1:
        return None

    y, x = torch.meshgrid(torch.arange(y_0, y_1).double(), torch.arange(x_0, x_1).double(), indexing="ij")
    u, v = (row[0] * x + row[1] * y + row[2] for row in tform[:2])
    inside = torch.minimum(torch.minimum(u, size - 1 - u), torch.minimum(v, size - 1 - v)) + 0.5
    weight = _smooth_step(inside / (border * size))
    # A border that the alignment padded is blurred over a third of the padding, which is 0.3 of the side or more.
    beyond = (-0.5 - left, right - width + 0.5, -0.5 - top, bottom - height + 0.5)
    for reach, distance in zip(beyond, (x + 0.5, width - 0.5 - x, y + 0.5, height - 0.5 - y), strict=True):
        if reach > 0.5:  # half a pixel may be due to rounding
            weight = weight * _smooth_step(distance / max(0.1 * size / zoom, (reach + 0.1 * size / zoom) / 3))

    source = aligned.to(photo)
    if zoom > 1:  # the photo's pixels are the larger ones
        small = max(1, round(size / zoom))
        source = resize_picture(source, (small, small))
        tform = _resized(torch.tensor([small / size] * 2)) @ tform
    shifted = torch.linalg.inv(tform)
    shifted[:2, 2] -= torch.tensor([x_0, y_0])
    placed = warp(source[None], shifted[None], (y_1 - y_0, x_1 - x_0))[0]
    return _Placed(slice(y_0, y_1), slice(x_0, x_1), placed, weight.to(photo))


def _side(quad: NDArray[np.float64]) -> float:
    return float(np.hypot(*(quad[3] - quad[0])))


def _zoom(photo_size: tuple[int, int], shrink: int) -> NDArray[np.float64]:
    """Size of a photo that was shrunk, relative to what it was, (across, down); its sides are rounded to pixels."""
    height, width = photo_size
    return np.array([round(width / shrink) / width, round(height / shrink) / height])


def _shrink(quad: NDArray[np.float64], photo_size: tuple[int, int], size: int) -> tuple[int, NDArray[np.float64]]:
    """How many times a photo is shrunk before its square is sampled, and the square on the shrunk photo.

    Alignment shrinks `int(side / size * 0.5)` times: as often as leaves the square two pixels for one of the result.
    """
    for shrink in range(int(_side(quad) / size * 0.5) + 1, 1, -1):
        shrunk = (quad + 0.5) * _zoom(photo_size, shrink) - 0.5
        if _side(shrunk) >= 2 * size * (1 - 1e-6):  # the map was rounded to float32
            return shrink, shrunk
    return 1, quad


def _cut(image: Image.Image, quad: NDArray[np.float64], margin: int) -> tuple[Image.Image, NDArray[np.int64]]:
    """The part of the picture around the square, and where it begins."""
    box = (
        max(int(np.floor(quad[:, 0].min())) - margin, 0),
        max(int(np.floor(quad[:, 1].min())) - margin, 0),
        min(int(np.ceil(quad[:, 0].max())) + margin, image.width),
        min(int(np.ceil(quad[:, 1].max())) + margin, image.height),
    )
    return image.crop(box), np.array(box[:2])


def _pad(
    image: Image.Image, quad: NDArray[np.float64], side: float, margin: int
) -> tuple[Image.Image, NDArray[np.int64]]:
    """Reflect, blur and fade the borders where the square leaves the picture; and how much was added left and above."""
    low, high = np.floor(quad.min(0)).astype(int), np.ceil(quad.max(0)).astype(int)
    needed = [*(margin - low), *(high - image.size + margin)]
    pads = np.maximum(needed, 0)
    if pads.max() <= margin - 4:
        return image, np.zeros(2, dtype=np.int64)
    left, top, right, bottom = np.maximum(pads, round(side * 0.3))
    pixels = np.pad(np.asarray(image, dtype=np.float32), ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width = pixels.shape[:2]
    y, x, _ = np.ogrid[:height, :width, :1]
    mask = np.maximum(
        1 - np.minimum(np.float32(x) / left, np.float32(width - 1 - x) / right),
        1 - np.minimum(np.float32(y) / top, np.float32(height - 1 - y) / bottom),
    )
    blur = side * 0.02
    pixels += (gaussian_filter(pixels, [blur, blur, 0]) - pixels) * np.clip(mask * 3 + 1, 0, 1)
    pixels += (np.median(pixels, axis=(0, 1)) - pixels) * np.clip(mask, 0, 1)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)), np.array([left, top])


def _photo_to_aligned(quad: NDArray[np.float64], zoom: NDArray[np.float64], size: int) -> Tensor:
    """Map from the photo, which was shrunk by `zoom` before the square was measured on it."""
    upper_left, lower_left, _, upper_right = torch.from_numpy(quad)
    # Pixel j of the result has its centre at (j + 0.5) / size of the way along the square's side.
    to_square = torch.eye(3, dtype=torch.float64)
    to_square[:2, :2] = torch.stack([upper_right - upper_left, lower_left - upper_left], dim=1) / size
    to_square[:2, 2] = upper_left + 0.5 * to_square[:2, :2].sum(dim=1)
    tform: Tensor = torch.linalg.inv(to_square) @ _resized(torch.from_numpy(zoom))
    return tform.float()


def _resized(zoom: Tensor) -> Float[Tensor, "3 3"]:
    """Map of pixel centres when a picture is resized: its outer edges stay its outer edges."""
    tform = torch.eye(3, dtype=torch.float64)
    tform[0, 0], tform[1, 1] = zoom
    tform[:2, 2] = (zoom - 1) / 2
    return tform


def _smooth_step(x: Tensor) -> Tensor:
    x = x.clamp(0, 1)
    smooth: Tensor = x * x * (3 - 2 * x)
    return smooth
