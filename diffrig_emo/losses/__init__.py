"""Losses: functions, and thin modules around them."""

from diffrig_emo.losses.adversarial import adaptive_weight, hinge_loss
from diffrig_emo.losses.agreement import concordance_loss, correlation_loss
from diffrig_emo.losses.changed_pixels import change_around
from diffrig_emo.losses.codes import CodeLoss
from diffrig_emo.losses.contrast import SceneContrast
from diffrig_emo.losses.diffusion import LossWeighting, MinSNRWeighting, P2Weighting
from diffrig_emo.losses.emotion import EmotionLoss, class_weights
from diffrig_emo.losses.preservation import PreservationLoss, measure_floor
from diffrig_emo.losses.text_direction import text_direction_loss

__all__ = [
    "CodeLoss",
    "EmotionLoss",
    "LossWeighting",
    "MinSNRWeighting",
    "P2Weighting",
    "PreservationLoss",
    "SceneContrast",
    "adaptive_weight",
    "change_around",
    "class_weights",
    "concordance_loss",
    "correlation_loss",
    "hinge_loss",
    "measure_floor",
    "text_direction_loss",
]
