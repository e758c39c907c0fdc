"""Texts and pictures in one space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from typing_extensions import Self

from diffrig_emo.metrics.functional.emotion import EMOTIONS
from diffrig_emo.perception.base import EmotionRecognizer

FACE_WORDS = ("neutral", "happy", "sad", "surprised", "scared", "disgusted", "angry", "contemptuous")
"""How a face of AffectNet's labels 0 to 7 is described."""


class TextImageEmbedder(nn.Module, ABC):
    """A network that puts texts and pictures of the same thing near each other. A subclass implements both ways."""

    @abstractmethod
    def embed_image(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Embeddings of pictures, RGB in [0, 1], of any length; gradients reach the pictures."""

    @abstractmethod
    def embed_text(self, texts: Sequence[str]) -> Float[Tensor, "texts dim"]:
        """Embeddings of texts, of any length."""


class EmotionWordEmbedder(TextImageEmbedder):
    """A recogniser of emotions in the place of CLIP, where CLIP's weights are not at hand: it knows eight words.

    A picture is the recogniser's logits, centred; a text is the emotion that it names, centred, or neutral where it
    names none. Judge what was trained by it with another recogniser.

    Args:
        recognizer: gives gradients, as `TimmEmotionRecognizer` does; frozen, always in eval mode.

    Example:
        >>> from diffrig_emo.perception import TimmEmotionRecognizer
        >>> embedder = EmotionWordEmbedder(TimmEmotionRecognizer("test_resnet", image_size=32))
        >>> embedder.embed_text(["a photo of a scared face", "a face"]).argmax(dim=1).tolist()
        [4, 0]
    """

    def __init__(self, recognizer: EmotionRecognizer) -> None:
        super().__init__()
        self.recognizer = recognizer.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def embed_image(self, image: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 8"]:
        """Centred logits of the eight emotions."""
        logits: Tensor = self.recognizer(image).logits
        return logits - logits.mean(dim=1, keepdim=True)

    def embed_text(self, texts: Sequence[str]) -> Float[Tensor, "texts 8"]:
        """The emotion that each text names, centred."""
        named = [next((n for n, word in enumerate(FACE_WORDS) if word in text.lower().split()), 0) for text in texts]
        device = next((p.device for p in self.recognizer.parameters()), torch.device("cpu"))
        return torch.eye(len(EMOTIONS), device=device)[named] - 1 / len(EMOTIONS)
