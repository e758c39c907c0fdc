"""Morphable models and their encoders: codes, meshes, textures."""

from diffrig_emo.morphable.backbone_encoder import BackboneEncoder
from diffrig_emo.morphable.base import FaceModel, MorphableEncoder, TextureModel
from diffrig_emo.morphable.deca import DECA
from diffrig_emo.morphable.descent_encoder import DescentEncoder, OrientedGradients
from diffrig_emo.morphable.descent_fit import fit_descent
from diffrig_emo.morphable.detail import DetailDecoder, DetailMaps, read_detail_maps
from diffrig_emo.morphable.emoca import EMOCA
from diffrig_emo.morphable.flame import FLAME
from diffrig_emo.morphable.patch_features import PatchFeatures, fit_patches
from diffrig_emo.morphable.synthetic_head import SyntheticHead, SyntheticTexture
from diffrig_emo.morphable.texture import FlameTexture
from diffrig_emo.utils.licensed import keep_out_of_checkpoints

__all__ = [
    "DECA",
    "EMOCA",
    "FLAME",
    "BackboneEncoder",
    "DescentEncoder",
    "DetailDecoder",
    "DetailMaps",
    "FaceModel",
    "FlameTexture",
    "MorphableEncoder",
    "OrientedGradients",
    "PatchFeatures",
    "SyntheticHead",
    "SyntheticTexture",
    "TextureModel",
    "fit_descent",
    "fit_patches",
    "keep_out_of_checkpoints",
    "read_detail_maps",
]
