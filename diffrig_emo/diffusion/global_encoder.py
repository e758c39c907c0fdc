"""Encoders of a whole photograph into one vector, which tells the denoiser what the buffers leave out."""

from __future__ import annotations

import timm
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import ResNet, resnet18, resnet50


class ResNetGlobalEncoder(nn.Module):
    """A torchvision ResNet whose classifier becomes a linear map to the global code.

    DiffusionRig's encoder, trained from scratch together with the denoiser. It sees [-1, 1], without ImageNet's
    normalisation.

    Args:
        backbone: a torchvision ResNet; its `fc` is replaced.
        dim: size of the global code.

    Raises:
        ValueError: when the backbone has no linear `fc`, or dim is not positive.
    """

    def __init__(self, backbone: ResNet, dim: int = 64) -> None:
        super().__init__()
        fc = getattr(backbone, "fc", None)
        if not isinstance(fc, nn.Linear):
            raise ValueError(f"backbone must be a torchvision ResNet with a linear `fc`, got {type(backbone).__name__}")
        backbone.fc = nn.Linear(fc.in_features, _positive(dim))
        self.dim = dim
        self.backbone = backbone

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Encode RGB pictures in [-1, 1], of any size from 32 up."""
        code: Tensor = self.backbone(image)
        return code


class ResNet18GlobalEncoder(ResNetGlobalEncoder):
    """ResNet-18, randomly initialised: DiffusionRig's default.

    Args:
        dim: size of the global code.

    Example:
        >>> import torch
        >>> ResNet18GlobalEncoder(dim=64).eval()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 64])
    """

    def __init__(self, dim: int = 64) -> None:
        super().__init__(resnet18(), dim)


class ResNet50GlobalEncoder(ResNetGlobalEncoder):
    """ResNet-50, randomly initialised: DiffusionRig's larger variant.

    Args:
        dim: size of the global code.
    """

    def __init__(self, dim: int = 64) -> None:
        super().__init__(resnet50(), dim)


class TimmGlobalEncoder(nn.Module):
    """Any backbone of timm, with a linear map to the global code.

    Args:
        model_name: a name of `timm.list_models()`.
        dim: size of the global code.
        pretrained: start from timm's weights, which it downloads.
        dropout: share of the backbone's pooled features that training drops before the linear map.

    Raises:
        ValueError: when timm does not know the name, dim is not positive, or dropout is out of range.

    Example:
        >>> import torch
        >>> TimmGlobalEncoder("resnet10t", dim=16).eval()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 16])
    """

    def __init__(self, model_name: str, dim: int = 64, pretrained: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        if not timm.is_model(model_name):
            raise ValueError(f"timm knows no model {model_name!r}; see timm.list_models()")
        self.dim = dim
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        self.backbone: nn.Module = timm.create_model(
            model_name, pretrained=pretrained, num_classes=_positive(dim), drop_rate=dropout
        )

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Encode RGB pictures in [-1, 1]."""
        code: Tensor = self.backbone(image)
        return code


def _positive(dim: int) -> int:
    if dim < 1:
        raise ValueError(f"dim must be at least 1, got {dim}")
    return dim
