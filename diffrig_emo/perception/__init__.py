"""Networks that judge faces, trained here or by others: recognisers of emotions, and the networks behind metrics."""

from diffrig_emo.perception.arcface import ArcFaceEmbedder
from diffrig_emo.perception.augmentation import FaceAugmentation
from diffrig_emo.perception.base import EmotionPrediction, EmotionRecognizer
from diffrig_emo.perception.clip import ClipEmbedder
from diffrig_emo.perception.code_emotion import EmocaCodeRecognizer
from diffrig_emo.perception.emoca_emotion import EmocaEmotionRecognizer
from diffrig_emo.perception.hsemotion import HSEmotionRecognizer
from diffrig_emo.perception.inception import InceptionFeatures
from diffrig_emo.perception.lpips_network import LPIPSNetwork
from diffrig_emo.perception.prototypes import (
    ExpressionPrototypes,
    class_prototypes,
    expression_prototypes,
    read_prototypes,
)
from diffrig_emo.perception.text_image import EmotionWordEmbedder, TextImageEmbedder
from diffrig_emo.perception.timm_emotion import TimmEmotionRecognizer

__all__ = [
    "ArcFaceEmbedder",
    "ClipEmbedder",
    "EmocaCodeRecognizer",
    "EmocaEmotionRecognizer",
    "EmotionPrediction",
    "EmotionRecognizer",
    "EmotionWordEmbedder",
    "ExpressionPrototypes",
    "FaceAugmentation",
    "HSEmotionRecognizer",
    "InceptionFeatures",
    "LPIPSNetwork",
    "TextImageEmbedder",
    "TimmEmotionRecognizer",
    "class_prototypes",
    "expression_prototypes",
    "read_prototypes",
]
