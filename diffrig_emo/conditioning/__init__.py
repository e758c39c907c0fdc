"""Bridges from a batch of faces to what a denoiser is conditioned on."""

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.conditioning.buffers import BufferConditioner
from diffrig_emo.conditioning.emotion_label import EmotionLabelConditioner
from diffrig_emo.conditioning.expression_code import ExpressionCodeConditioner
from diffrig_emo.conditioning.expression_regions import transfer_region
from diffrig_emo.conditioning.expression_subspace import ExpressionSubspace
from diffrig_emo.conditioning.global_code import GlobalCodeConditioner
from diffrig_emo.conditioning.landmarks import landmarks_from_codes
from diffrig_emo.conditioning.semantic_code import ExpressiveSemanticConditioner, SemanticCodeConditioner

__all__ = [
    "BufferConditioner",
    "Conditioner",
    "EmotionLabelConditioner",
    "ExpressionCodeConditioner",
    "ExpressionSubspace",
    "ExpressiveSemanticConditioner",
    "GlobalCodeConditioner",
    "SemanticCodeConditioner",
    "landmarks_from_codes",
    "transfer_region",
]
