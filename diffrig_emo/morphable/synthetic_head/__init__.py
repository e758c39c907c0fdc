"""A procedural head: the interface of FLAME without a licensed file."""

from diffrig_emo.morphable.synthetic_head.emotions import EMOTIONS
from diffrig_emo.morphable.synthetic_head.expressions import EXPRESSION_NAMES
from diffrig_emo.morphable.synthetic_head.identity import SHAPE_NAMES
from diffrig_emo.morphable.synthetic_head.model import SyntheticHead, SyntheticTexture, emotion_preset

__all__ = ["EMOTIONS", "EXPRESSION_NAMES", "SHAPE_NAMES", "SyntheticHead", "SyntheticTexture", "emotion_preset"]
