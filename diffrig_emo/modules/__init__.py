"""LightningModules: each usable alone under a Trainer, each with a meaningful `predict`."""

from diffrig_emo.modules.base import FaceModule
from diffrig_emo.modules.beta_preservation import BetaPreservation
from diffrig_emo.modules.diffusion import FaceDiffusion
from diffrig_emo.modules.emotion_editor import EmotionEditor
from diffrig_emo.modules.emotion_finetuning import EmotionFinetuning
from diffrig_emo.modules.encoder import FaceEncoder
from diffrig_emo.modules.global_encoder import GlobalEncoder
from diffrig_emo.modules.latent_prior import LatentPrior
from diffrig_emo.modules.paired_finetuning import PairedFinetuning
from diffrig_emo.modules.recognizer import ExpressionRecognizer
from diffrig_emo.modules.renderer import FaceRenderer
from diffrig_emo.modules.semantic_classifier import SemanticClassifier
from diffrig_emo.modules.vq_autoencoder import VQAutoencoder

__all__ = [
    "BetaPreservation",
    "EmotionEditor",
    "EmotionFinetuning",
    "ExpressionRecognizer",
    "FaceDiffusion",
    "FaceEncoder",
    "FaceModule",
    "FaceRenderer",
    "GlobalEncoder",
    "LatentPrior",
    "PairedFinetuning",
    "SemanticClassifier",
    "VQAutoencoder",
]
