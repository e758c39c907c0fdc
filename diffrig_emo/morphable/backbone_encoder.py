"""Any timm backbone as a photo-to-codes encoder."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from diffrig_emo.morphable.base import MorphableEncoder
from diffrig_emo.morphable.code_vector import CodeVector
from diffrig_emo.structures import FaceCodes, FaceCrop, StructError
from diffrig_emo.transforms.ranges import to_signed


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
        self.code_vector = CodeVector(n_shape, n_tex, n_exp, space, cam_scale)
        backbone: Any = timm.create_model(model_name, pretrained=pretrained, num_classes=0)
        self.backbone: nn.Module = backbone
        self.head = nn.Linear(backbone.num_features, self.code_vector.size)
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
        return self.code_vector.unpack(outputs, crop.tform)
