"""What a latent diffusion model needs of the autoencoder below it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


class Autoencoder(nn.Module, ABC):
    """Pictures to smaller maps and back. A subclass sets the attributes and implements both ways.

    Attributes:
        latent_channels: channels of a latent.
        factor: pixels of the picture per pixel of the latent, along each side.
    """

    latent_channels: int
    factor: int

    @property
    @abstractmethod
    def spread(self) -> Float[Tensor, ""]:
        """Typical standard deviation of a latent's numbers; depends on the weights alone."""

    @abstractmethod
    def encode(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch channels h w"]:
        """Latents of pictures in [-1, 1]; height and width are divided by `factor`."""

    @abstractmethod
    def decode(self, z: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch 3 height width"]:
        """Pictures of latents, around [-1, 1], not clamped; gradients reach the latents."""
