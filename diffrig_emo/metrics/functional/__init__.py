"""Metrics as plain functions of one batch."""

from diffrig_emo.metrics.functional.codes import code_errors, geodesic_degrees
from diffrig_emo.metrics.functional.image import changed_mask, edit_regions, psnr, ssim

__all__ = ["changed_mask", "code_errors", "edit_regions", "geodesic_degrees", "psnr", "ssim"]
