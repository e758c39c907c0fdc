"""Metrics as plain functions of one batch."""

from diffrig_emo.metrics.functional.codes import code_errors, geodesic_degrees
from diffrig_emo.metrics.functional.emotion import (
    EMOTIONS,
    concordance_correlation,
    emotion_accuracy,
    emotion_confusion,
)
from diffrig_emo.metrics.functional.image import changed_mask, edit_regions, psnr, ssim

__all__ = [
    "EMOTIONS",
    "changed_mask",
    "code_errors",
    "concordance_correlation",
    "edit_regions",
    "emotion_accuracy",
    "emotion_confusion",
    "geodesic_degrees",
    "psnr",
    "ssim",
]
