"""Any timm backbone as a recogniser of emotions."""

from __future__ import annotations

from typing import Any

import timm
from jaxtyping import Float
from torch import Tensor, nn

from diffrig_emo.io.checkpoints import load_part
from diffrig_emo.perception.base import N_EMOTIONS, EmotionPrediction, EmotionRecognizer
from diffrig_emo.transforms.ranges import to_signed


class TimmEmotionRecognizer(EmotionRecognizer):
    """Emotion, valence and arousal by a timm backbone and one linear layer.

    Args:
        model_name: a name of `timm.list_models()`.
        image_size: side in pixels of the picture that the network sees.
        feature_dim: length of the expression vector; a linear layer leads to it. None: the backbone's own features.
        dropout: share of the features that are left out in training.
        pretrained: start from timm's weights (fetched by timm; needs a network or its cache).
        weights: checkpoint of the `ExpressionRecognizer` that trained it; None leaves it untrained.

    Raises:
        ValueError: when timm does not know the name, a number is out of range, or `weights` is of another network.
        FileNotFoundError: when `weights` does not exist.

    Example:
        >>> import torch
        >>> recognizer = TimmEmotionRecognizer("test_resnet", image_size=32, feature_dim=16).eval()
        >>> seen = recognizer(torch.rand(2, 3, 48, 48))
        >>> tuple(seen.logits.shape), tuple(seen.va.shape), tuple(seen.feature.shape)
        ((2, 8), (2, 2), (2, 16))
    """

    def __init__(
        self,
        model_name: str = "resnet18",
        image_size: int = 224,
        feature_dim: int | None = None,
        dropout: float = 0.0,
        pretrained: bool = False,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if not timm.is_model(model_name):
            raise ValueError(f"model_name: timm knows no model {model_name!r}; see timm.list_models()")
        for name, number in {"image_size": image_size, "feature_dim": feature_dim}.items():
            if number is not None and number < 1:
                raise ValueError(f"{name}: expected at least 1, got {number}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout: expected a share in [0, 1), got {dropout}")
        backbone: Any = timm.create_model(model_name, pretrained=pretrained, num_classes=0)
        self.image_size = image_size
        self.feature_dim = feature_dim or int(backbone.num_features)
        self.backbone: nn.Module = backbone
        self.project = nn.Linear(backbone.num_features, feature_dim) if feature_dim else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(self.feature_dim, N_EMOTIONS + 2)
        if weights is not None:
            load_part(self, weights, "recognizer", "weights")

    def recognize(self, image: Float[Tensor, "batch 3 image_size image_size"]) -> EmotionPrediction:
        """Emotions of faces of the network's size, RGB in [0, 1]."""
        feature = self.project(self.backbone(to_signed(image)))
        outputs = self.linear(self.dropout(feature))
        return EmotionPrediction(logits=outputs[:, :N_EMOTIONS], va=outputs[:, N_EMOTIONS:].tanh(), feature=feature)
