"""The network that DECA and EMOCA read every group of codes with."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet, resnet50
from torchvision.models.resnet import Bottleneck
from typing_extensions import Self

IMAGE_SIZE = 224
"""Side in pixels of the picture that the networks were trained on."""


class ResNetCodeEncoder(nn.Module):
    """ResNet-50 and two linear layers: 3 x 224 x 224 pixels to `n_out` numbers.

    The architecture and names of `E_flame`, `E_expression` and `E_detail`: torchvision's ResNet-50 (stride in the
    3 x 3 convolution) under `encoder`, without classifier; 2048 -> 1024 -> `n_out` under `layers`.

    Args:
        n_out: how many numbers it gives.

    Example:
        >>> network = ResNetCodeEncoder(236).eval()
        >>> sum(p.numel() for p in network.parameters())
        25848108
    """

    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.encoder: ResNet = resnet50(weights=None)
        self.encoder.fc = nn.Identity()
        self.layers = nn.Sequential(nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, n_out))

    @classmethod
    def without_weights(cls, n_out: int) -> Self:
        """A network on the meta device, for weights to be assigned to: it costs no time and no memory."""
        with torch.device("meta"):
            return cls(n_out)

    def forward(self, image: Float[Tensor, "batch 3 224 224"]) -> Float[Tensor, "batch n_out"]:
        """Read RGB pictures in [0, 1]: DECA has neither ImageNet's normalisation nor [-1, 1]."""
        outputs: Tensor = self.layers(self.encoder(image))
        return outputs

    def fold(self) -> Self:
        """Make the trained network fast, in place: batch norms become part of their convolutions, channels come last.

        The same numbers up to rounding (1e-6 of the largest), a third more pictures a second on a CPU. It cannot
        be trained or loaded afterwards.
        """
        self.eval()
        resnet = self.encoder
        _fold_pair(resnet, "conv1", "bn1")
        for block in resnet.modules():
            if isinstance(block, Bottleneck):
                for number in "123":
                    _fold_pair(block, f"conv{number}", f"bn{number}")
                if block.downsample is not None:
                    block.downsample = fuse_conv_bn_eval(*block.downsample)
        return self.to(memory_format=torch.channels_last)


def _fold_pair(block: nn.Module, conv: str, norm: str) -> None:
    before, after = getattr(block, conv), getattr(block, norm)
    setattr(block, conv, fuse_conv_bn_eval(before, after))
    setattr(block, norm, nn.Identity())
