"""The Inception network of FID and KID, from its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import Inception3
from torchvision.models.inception import (
    BasicConv2d,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

from diffrig_emo.perception.frozen import FrozenNetwork, load_network, require_pictures
from diffrig_emo.utils.assets import locate_asset
from diffrig_emo.utils.licensed import keep_out_of_checkpoints

_SIDE = 299
_CLASSES = 1008


class InceptionFeatures(FrozenNetwork):
    """Pooled features of the Inception v3 of 2015 that FID was defined with (Heusel et al. 2017), 2048 a picture.

    The network, its resizing and its features are those of `torch_fidelity` ("inception-v3-compat"), so that figures
    compare with published ones. Pictures are taken as 8 bits, as if they had been saved.

    Args:
        path: `weights-inception-2015-12-05-6726825d.pth` (torch-fidelity's name) or
            `pt_inception-2015-12-05-6726825d.pth` (pytorch-fid's name for the same file), or a folder to search for it.
            None: it is looked for where `diffrig_emo.utils.assets` looks, and in PyTorch's own cache.

    Raises:
        FileNotFoundError: saying where the file was looked for and where to get it.
        ValueError: when it is damaged or holds another network.

    Example:
        ```python
        features = InceptionFeatures("fid/weights-inception-2015-12-05-6726825d.pth")
        metric = FID(features)
        ```
    """

    feature_dim = 2048

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__()
        path = locate_asset("inception", path)
        with torch.device("meta"):
            network = inception_v3_compat()
        load_network(path, network)
        network.fc = nn.Identity()
        self.network = network
        keep_out_of_checkpoints(self.eval())

    @torch.no_grad()
    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 2048"]:
        """Features of pictures of any size, RGB in [0, 1].

        Raises:
            ValueError: when `image` is no batch of RGB pictures.
        """
        require_pictures(image)
        pixels = resize_like_tensorflow((image.float().clamp(0, 1) * 255).round(), _SIDE)
        features: Tensor = self.network((pixels - 128) / 128)
        return features


def inception_v3_compat() -> Inception3:
    """Inception v3 by torchvision, under its names, with 1008 classes and pooling as in TensorFlow's of 2015.

    Average pooling leaves out what lies beyond the border; the last block takes the maximum instead of the average.
    """
    blocks: list[Callable[..., nn.Module]] = [
        BasicConv2d, _BlockA, InceptionB, _BlockC, InceptionD, _BlockE, InceptionAux,
    ]  # fmt: skip
    network = Inception3(_CLASSES, aux_logits=False, inception_blocks=blocks, init_weights=False)
    network.Mixed_7c.pool = nn.MaxPool2d(3, stride=1, padding=1)
    return network


def resize_like_tensorflow(
    image: Float[Tensor, "batch channels height width"], side: int
) -> Float[Tensor, "batch channels side side"]:
    """Resize as TensorFlow 1 did: bilinear, unsmoothed, pixel i taken from `i * old / new`, without half a pixel."""
    for axis in (2, 3):
        old = image.shape[axis]
        taken = torch.arange(side, device=image.device, dtype=torch.float32) * (old / side)
        low = taken.long()
        weight = (taken - low).to(image.dtype)
        if axis == 2:
            weight = weight[:, None]
        before = image.index_select(axis, low)
        after = image.index_select(axis, (low + 1).clamp(max=old - 1))
        image = before + (after - before) * weight
    return image


class _BlockA(InceptionA):  # type: ignore[misc]  # torchvision has no types
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch5x5_2(self.branch5x5_1(x)),
                self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
                self.branch_pool(_average(x)),
            ],
            dim=1,
        )


class _BlockC(InceptionC):  # type: ignore[misc]
    def forward(self, x: Tensor) -> Tensor:
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
                self.branch7x7dbl_5(self.branch7x7dbl_4(double)),
                self.branch_pool(_average(x)),
            ],
            dim=1,
        )


class _BlockE(InceptionE):  # type: ignore[misc]
    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels)
        self.pool: nn.Module = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        single = self.branch3x3_1(x)
        double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch3x3_2a(single),
                self.branch3x3_2b(single),
                self.branch3x3dbl_3a(double),
                self.branch3x3dbl_3b(double),
                self.branch_pool(self.pool(x)),
            ],
            dim=1,
        )


def _average(x: Tensor) -> Tensor:
    """Mean over a pixel and its neighbours, as many as there are."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
