"""What a recogniser of emotions gives, and what one has to be."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor, nn
from torchvision.transforms.functional import resize

from diffrig_emo.structures.base import TensorStruct

N_EMOTIONS = 8
"""AffectNet's labels 0 to 7; their names are `diffrig_emo.metrics.functional.EMOTIONS`."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EmotionPrediction(TensorStruct):
    """What a recogniser sees in a batch of faces."""

    logits: Float[Tensor, "batch 8"]
    """Unnormalised log-probabilities of AffectNet's labels 0..7: neutral, happy, sad, surprise, fear, disgust, anger,
    contempt."""
    va: Float[Tensor, "batch 2"]
    """Valence and arousal in [-1, 1]."""
    feature: Float[Tensor, "batch dim"]
    """What both were read from: the expression as a vector."""

    @property
    def label(self) -> Int[Tensor, " batch"]:
        """The likeliest label."""
        return self.logits.argmax(dim=1)

    @property
    def probabilities(self) -> Float[Tensor, "batch 8"]:
        """Probability of each label."""
        return self.logits.softmax(dim=1)


class EmotionRecognizer(nn.Module, ABC):
    """A network that reads the emotion off a face. A subclass sets the attributes and implements `recognize`.

    Attributes:
        image_size: side in pixels of the picture that the network sees.
        feature_dim: length of `EmotionPrediction.feature`.
    """

    image_size: int
    feature_dim: int

    @abstractmethod
    def recognize(self, image: Float[Tensor, "batch 3 image_size image_size"]) -> EmotionPrediction:
        """Emotions of faces that have the network's size already, RGB in [0, 1]."""

    def forward(self, image: Float[Tensor, "batch 3 height width"]) -> EmotionPrediction:
        """Emotions of faces of any size, RGB in [0, 1]; the pictures are resized to the network's size.

        Gradients reach the pictures, so that a frozen recogniser can judge what another network draws.

        Raises:
            ValueError: when `image` is no batch of RGB pictures.
        """
        if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
            raise ValueError(
                "image: expected a float tensor of shape (batch, 3, height, width), RGB in [0, 1], got "
                f"{str(image.dtype).removeprefix('torch.')} {tuple(image.shape)}"
            )
        if tuple(image.shape[2:]) != (self.image_size, self.image_size):
            image = resize(image, [self.image_size, self.image_size], antialias=True)
        return self.recognize(image)
