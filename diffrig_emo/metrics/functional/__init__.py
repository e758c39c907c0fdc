"""Metrics as plain functions of one batch."""

from diffrig_emo.metrics.functional.background import background_preservation
from diffrig_emo.metrics.functional.codes import code_errors, geodesic_degrees, reinference_errors
from diffrig_emo.metrics.functional.distribution import frechet_distance, kernel_distance
from diffrig_emo.metrics.functional.drift import beta_drift, code_distances_mm, vertex_distance
from diffrig_emo.metrics.functional.emotion import (
    EMOTIONS,
    concordance_correlation,
    emotion_accuracy,
    emotion_confusion,
    emotion_top2,
)
from diffrig_emo.metrics.functional.image import changed_mask, edit_regions, l1, psnr, ssim
from diffrig_emo.metrics.functional.perceptual import csim, lpips
from diffrig_emo.metrics.functional.reenactment import reenactment_distances
from diffrig_emo.metrics.functional.temporal import temporal_jitter, warping_error
from diffrig_emo.metrics.functional.user_study import (
    Share,
    Strengths,
    binomial_share,
    bradley_terry,
    choice_confusion,
    comparable_groups,
)

__all__ = [
    "EMOTIONS",
    "Share",
    "Strengths",
    "background_preservation",
    "beta_drift",
    "binomial_share",
    "bradley_terry",
    "changed_mask",
    "choice_confusion",
    "code_distances_mm",
    "code_errors",
    "comparable_groups",
    "concordance_correlation",
    "csim",
    "edit_regions",
    "emotion_accuracy",
    "emotion_confusion",
    "emotion_top2",
    "frechet_distance",
    "geodesic_degrees",
    "kernel_distance",
    "l1",
    "lpips",
    "psnr",
    "reenactment_distances",
    "reinference_errors",
    "ssim",
    "temporal_jitter",
    "vertex_distance",
    "warping_error",
]
