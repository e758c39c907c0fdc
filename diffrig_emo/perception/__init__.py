"""Recognisers of emotions: networks that judge faces, trained here or by others."""

from diffrig_emo.perception.augmentation import FaceAugmentation
from diffrig_emo.perception.base import EmotionPrediction, EmotionRecognizer
from diffrig_emo.perception.code_emotion import EmocaCodeRecognizer
from diffrig_emo.perception.emoca_emotion import EmocaEmotionRecognizer
from diffrig_emo.perception.prototypes import class_prototypes
from diffrig_emo.perception.timm_emotion import TimmEmotionRecognizer

__all__ = [
    "EmocaCodeRecognizer",
    "EmocaEmotionRecognizer",
    "EmotionPrediction",
    "EmotionRecognizer",
    "FaceAugmentation",
    "TimmEmotionRecognizer",
    "class_prototypes",
]
