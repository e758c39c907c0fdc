"""LightningModules: each usable alone under a Trainer, each with a meaningful `predict`."""

from diffrig_emo.modules.base import FaceModule
from diffrig_emo.modules.beta_preservation import BetaPreservation
from diffrig_emo.modules.diffusion import FaceDiffusion
from diffrig_emo.modules.encoder import FaceEncoder
from diffrig_emo.modules.global_encoder import GlobalEncoder
from diffrig_emo.modules.recognizer import ExpressionRecognizer
from diffrig_emo.modules.renderer import FaceRenderer

__all__ = [
    "BetaPreservation",
    "ExpressionRecognizer",
    "FaceDiffusion",
    "FaceEncoder",
    "FaceModule",
    "FaceRenderer",
    "GlobalEncoder",
]
