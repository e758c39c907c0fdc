"""Small changes to a face that leave its emotion as it is, on the training device."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class FaceAugmentation(nn.Module):
    """Mirror, turn, zoom and shift faces a little, change their light, add noise.

    Every face gets its own draw from PyTorch's generator, which a `FaceModule` seeds from (seed, step, rank). In eval
    mode pictures pass as they are. What comes from outside the picture repeats its border.

    Args:
        flip: share of faces that are mirrored.
        rotation: largest turn in degrees.
        scale: largest change of size, relative.
        shift: largest shift, relative to the picture's side.
        brightness: largest change of brightness, in [0, 1] units.
        contrast: largest change of contrast, relative.
        noise: largest standard deviation of Gaussian noise, in [0, 1] units.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> still = FaceAugmentation(flip=1, rotation=0, scale=0, shift=0, brightness=0, contrast=0, noise=0)
        >>> image = torch.rand(2, 3, 8, 8)
        >>> torch.allclose(still(image), image.flip(3), atol=1e-5)
        True
    """

    def __init__(
        self,
        flip: float = 0.5,
        rotation: float = 10.0,
        scale: float = 0.1,
        shift: float = 0.05,
        brightness: float = 0.1,
        contrast: float = 0.2,
        noise: float = 0.02,
    ) -> None:
        super().__init__()
        ranges = {"flip": (flip, 1.0), "rotation": (rotation, 180.0), "scale": (scale, 0.9), "shift": (shift, 1.0)}
        ranges |= {"brightness": (brightness, 1.0), "contrast": (contrast, 1.0), "noise": (noise, 1.0)}
        for name, (value, most) in ranges.items():
            if not 0 <= value <= most:
                raise ValueError(f"{name}: expected a number from 0 to {most:g}, got {value}")
        self.flip = flip
        self.rotation = math.radians(rotation)
        self.scale = scale
        self.shift = shift
        self.brightness = brightness
        self.contrast = contrast
        self.noise = noise

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
        """Change a batch of pictures, RGB in [0, 1]; the result is clamped to that range."""
        if not self.training:
            return image
        moved = F.grid_sample(
            image,
            F.affine_grid(self._placements(image), list(image.shape), align_corners=False),
            padding_mode="border",
            align_corners=False,
        )
        per_face = (len(image), 1, 1, 1)
        contrast = 1 + _uniform(image, per_face, self.contrast)
        lit = (moved - 0.5) * contrast + 0.5 + _uniform(image, per_face, self.brightness)
        if self.noise:
            lit = lit + _uniform(image, per_face, self.noise).abs() * torch.randn_like(lit)
        return lit.clamp(0, 1)

    def _placements(self, image: Tensor) -> Float[Tensor, "batch 2 3"]:
        """Where in the picture each face's new picture is taken from."""
        count = (len(image),)
        angle = _uniform(image, count, self.rotation)
        zoom = 1 + _uniform(image, count, self.scale)
        mirror = torch.where(torch.rand(count, device=image.device) < self.flip, -1.0, 1.0).to(image.dtype)
        cos, sin = zoom * angle.cos(), zoom * angle.sin()
        x = torch.stack([mirror * cos, -sin, _uniform(image, count, 2 * self.shift)], dim=1)
        y = torch.stack([mirror * sin, cos, _uniform(image, count, 2 * self.shift)], dim=1)
        return torch.stack([x, y], dim=1)


def _uniform(like: Tensor, size: tuple[int, ...], most: float) -> Tensor:
    """Numbers between -most and most."""
    return (2 * torch.rand(size, device=like.device, dtype=like.dtype) - 1) * most
