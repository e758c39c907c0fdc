"""The face recogniser that identity is measured with."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from diffrig_emo.perception.frozen import FrozenNetwork, load_network, require_pictures
from diffrig_emo.transforms.ranges import to_signed
from diffrig_emo.utils.assets import locate_asset
from diffrig_emo.utils.licensed import keep_out_of_checkpoints

_SIDE = 112
_STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
"""Channels and blocks of each stage; the first block of each halves the picture."""
_SQUEEZE = 16
_EMBEDDING = 512


class ArcFaceEmbedder(FrozenNetwork):
    """A face as a unit vector: the IR-SE50 trained with ArcFace (Deng et al. 2019) that editing papers compare by.

    Weights and names are those of TreB1eN's InsightFace_Pytorch (`model_ir_se50.pth`, MIT). It was trained on faces
    of 112 x 112 pixels put in place by five points: cut them by `transforms.identity_crop.align_to_arcface`, or, where
    there are no landmarks, cut FFHQ-aligned pictures by `transforms.identity_crop.cut_ffhq_face`. Its author's code
    stored training pictures with blue first; the papers feed it red first, and so is it here, to compare with them.

    Args:
        path: the file, or a folder to search for it. None: it is looked for where `diffrig_emo.utils.assets` looks.

    Raises:
        FileNotFoundError: saying where the file was looked for and where to get it.
        ValueError: when it is damaged or holds another network.

    Example:
        ```python
        embedder = ArcFaceEmbedder("model_ir_se50.pth")
        embedding = embedder(align_to_arcface(image, landmarks))  # (B, 512)
        ```
    """

    embedding_dim = _EMBEDDING

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__()
        path = locate_asset("arcface", path)
        with torch.device("meta"):
            network = IRSE50()
        load_network(path, network)
        self.network = network
        keep_out_of_checkpoints(self.eval())

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 512"]:
        """Embeddings, of length 1, of face crops, RGB in [0, 1]; gradients reach the pictures.

        Crops of another size than 112 x 112 pixels are averaged or spread to it, as the papers do.

        Raises:
            ValueError: when `image` is no batch of RGB pictures.
        """
        require_pictures(image)
        if tuple(image.shape[2:]) != (_SIDE, _SIDE):
            image = F.adaptive_avg_pool2d(image, _SIDE)
        embedding: Tensor = self.network(to_signed(image))
        return F.normalize(embedding, dim=1)


class IRSE50(nn.Module):
    """Improved residual network of 50 layers with squeeze and excitation, under the names of InsightFace_Pytorch."""

    def __init__(self) -> None:
        super().__init__()
        width = _STAGES[0][0]
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.PReLU(width)
        )
        blocks: list[nn.Module] = []
        for channels, count in _STAGES:
            blocks += [_Block(width, channels, stride=2)]
            blocks += [_Block(channels, channels, stride=1) for _ in range(count - 1)]
            width = channels
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Dropout(0.6),
            nn.Flatten(),
            nn.Linear(width * 7 * 7, _EMBEDDING),
            nn.BatchNorm1d(_EMBEDDING),
        )

    def forward(self, image: Float[Tensor, "batch 3 112 112"]) -> Float[Tensor, "batch 512"]:
        """Embeddings of pictures in [-1, 1], not normalised."""
        embedding: Tensor = self.output_layer(self.body(self.input_layer(image)))
        return embedding


class _Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if before != after:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.PReLU(after),
            nn.Conv2d(after, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            _SqueezeExcitation(after),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.shortcut_layer(x) + self.res_layer(x)
        return out


class _SqueezeExcitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _SQUEEZE, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))))
