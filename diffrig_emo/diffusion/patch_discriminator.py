"""The critic that tells photographs from reconstructions, patch by patch."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """Convolutions that judge every patch by itself (Isola et al. 2017, section 3.2.2: "PatchGAN").

    With three strided layers each verdict sees 70 x 70 pixels; pictures of 64 pixels want fewer.

    Args:
        channels: width of the first layer; it doubles with each strided layer, up to eight times.
        num_layers: strided layers.

    Raises:
        ValueError: when a number is not positive.

    Example:
        >>> import torch
        >>> tuple(PatchDiscriminator(channels=8, num_layers=2)(torch.zeros(2, 3, 64, 64)).shape)
        (2, 1, 14, 14)
    """

    def __init__(self, channels: int = 64, num_layers: int = 3) -> None:
        super().__init__()
        if channels < 1 or num_layers < 1:
            raise ValueError(
                f"PatchDiscriminator: channels and num_layers must be positive, got {channels} and {num_layers}"
            )
        self.least_side = 3 * 2**num_layers
        layers: list[nn.Module] = [nn.Conv2d(3, channels, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        width = channels
        for number in range(1, num_layers + 1):
            wider = channels * min(2**number, 8)
            stride = 2 if number < num_layers else 1
            layers += [
                nn.Conv2d(width, wider, 4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(wider),
                nn.LeakyReLU(0.2),
            ]
            width = wider
        layers.append(nn.Conv2d(width, 1, 4, padding=1))
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, 0, 0.02)
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, 1, 0.02)

    def forward(self, x: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1 h w"]:
        """How real each patch of pictures in [-1, 1] looks; unbounded.

        Raises:
            ValueError: when the pictures are too small for a single verdict.
        """
        if min(x.shape[-2:]) < self.least_side:
            raise ValueError(
                f"PatchDiscriminator: expected pictures of at least {self.least_side} pixels, got "
                f"{tuple(x.shape[-2:])}; give it fewer num_layers"
            )
        verdict: Tensor = self.layers(x)
        return verdict
