"""Any timm backbone as a photo-to-codes encoder."""

from __future__ import annotations

from typing import Any, NamedTuple

import timm
import torch
from torch import nn

from diffrig_emo.morphable.base import MorphableEncoder
from diffrig_emo.structures import FaceCodes, FaceCrop, StructError
from diffrig_emo.structures.codes import EVEN_LIGHT
from diffrig_emo.transforms.ranges import to_signed


class _Group(NamedTuple):
    """A slice of the network's output, and the typical spread of the code that it becomes."""

    size: int
    spread: float


class BackboneEncoder(MorphableEncoder):
    """Photo to codes by a timm backbone and one linear layer.

    The linear layer's outputs are scaled to the typical spread of each code, so that an untrained encoder
    already describes the mean face looking ahead in an even light.

    Args:
        model_name: any timm classification model ("resnet18", "convnext_tiny", ...).
        n_shape: number of shape coefficients; the defaults are `SyntheticHead`'s.
        n_tex: number of texture coefficients.
        n_exp: number of expression coefficients.
        space: code space of the codes it gives.
        image_size: side in pixels of the crop it wants.
        cam_scale: camera scale of a typical face.
        pretrained: start from timm's weights (fetched by timm; needs a network or its cache).

    Example:
        >>> import torch
        >>> encoder = BackboneEncoder("resnet10t", n_shape=4, n_tex=4, n_exp=4, image_size=32).eval()
        >>> codes = encoder(FaceCrop(image=torch.rand(2, 3, 32, 32)))
        >>> codes.batch_size, codes.space
        (2, 'synthetic1')
    """

    def __init__(
        self,
        model_name: str = "resnet18",
        n_shape: int = 38,
        n_tex: int = 30,
        n_exp: int = 23,
        space: str = "synthetic1",
        image_size: int = 64,
        cam_scale: float = 8.0,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        self.space = space
        self.image_size = image_size
        self.cam_scale = cam_scale
        self.groups = {
            "shape": _Group(n_shape, 1.0),
            "tex": _Group(n_tex, 1.0),
            "exp": _Group(n_exp, 0.5),
            "pose": _Group(6, 0.3),
            "cam": _Group(3, 0.1),
            "light": _Group(27, 0.5),
        }
        backbone: Any = timm.create_model(model_name, pretrained=pretrained, num_classes=0)
        self.backbone: nn.Module = backbone
        self.head = nn.Linear(backbone.num_features, sum(group.size for group in self.groups.values()))
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, crop: FaceCrop) -> FaceCodes:
        """Codes of the faces in `crop.image` ((B, 3, image_size, image_size), RGB in [0, 1]).

        Raises:
            StructError: when the crop has another size.
        """
        size = tuple(crop.image.shape[2:])
        if size != (self.image_size, self.image_size):
            raise StructError(
                f"FaceCrop.image: this encoder wants {self.image_size} x {self.image_size} pixels, got {size}; "
                "resize the crop, or build the encoder with that image_size"
            )
        outputs = self.head(self.backbone(to_signed(crop.image)))
        parts = torch.split(outputs, [group.size for group in self.groups.values()], dim=1)
        codes = {name: g.spread * part for (name, g), part in zip(self.groups.items(), parts, strict=True)}
        log_scale, shift = codes["cam"][:, :1], codes["cam"][:, 1:]
        codes["cam"] = torch.cat([self.cam_scale * torch.exp(log_scale), 0.2 * shift], dim=1)
        light = codes["light"].reshape(-1, 9, 3)
        even = torch.zeros_like(light)
        even[:, 0] = EVEN_LIGHT
        codes["light"] = light + even
        return FaceCodes(space=self.space, tform=crop.tform, **codes)
