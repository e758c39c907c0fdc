"""Morphable models and their encoders: codes, meshes, textures."""

from diffrig_emo.morphable.backbone_encoder import BackboneEncoder
from diffrig_emo.morphable.base import FaceModel, MorphableEncoder, TextureModel
from diffrig_emo.morphable.flame import FLAME
from diffrig_emo.morphable.synthetic_head import SyntheticHead, SyntheticTexture
from diffrig_emo.morphable.texture import FlameTexture

__all__ = [
    "FLAME",
    "BackboneEncoder",
    "FaceModel",
    "FlameTexture",
    "MorphableEncoder",
    "SyntheticHead",
    "SyntheticTexture",
    "TextureModel",
]
