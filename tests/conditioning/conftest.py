import pytest
import torch
from torch import nn

from diffrig_emo.perception.base import EmotionPrediction, EmotionRecognizer


class ColourRecognizer(EmotionRecognizer):
    """Reads the expression off the mean colour: (r, g, b, r g) is the feature, r the happiness, g the valence."""

    image_size = 8
    feature_dim = 4

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(()))

    def recognize(self, image):
        r, g, b = image.mean((2, 3)).unbind(1)
        logits = torch.stack([-r, r, *[torch.full_like(r, -9.0)] * 6], dim=1) * 8 * self.gain
        feature = torch.stack([r, g, b, r * g], dim=1)
        return EmotionPrediction(logits=logits, va=torch.stack([2 * g - 1, 2 * b - 1], dim=1), feature=feature)


@pytest.fixture
def recognizer():
    return ColourRecognizer()
