"""LightningModules: each usable alone under a Trainer, each with a meaningful `predict`."""

from diffrig_emo.modules.base import FaceModule
from diffrig_emo.modules.diffusion import FaceDiffusion
from diffrig_emo.modules.encoder import FaceEncoder
from diffrig_emo.modules.global_encoder import GlobalEncoder
from diffrig_emo.modules.renderer import FaceRenderer

__all__ = ["FaceDiffusion", "FaceEncoder", "FaceModule", "FaceRenderer", "GlobalEncoder"]
