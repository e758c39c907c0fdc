"""Metrics that accumulate over batches (torchmetrics classes); the same as functions in `metrics.functional`.

A metric that needs a network is given it; `diffrig_emo.perception` reads those that others trained.
"""

from diffrig_emo.metrics.codes import BetaDrift, CodeDistancesMM, CodeErrors, ReenactmentDistances, ReinferenceErrors
from diffrig_emo.metrics.distribution import FID, KID
from diffrig_emo.metrics.emotion import ConcordanceCorrelation, EmotionAccuracy
from diffrig_emo.metrics.image import BackgroundPreservation, EditQuality, MaskedPSNR, MaskedSSIM
from diffrig_emo.metrics.perceptual import CSIM, LPIPS
from diffrig_emo.metrics.temporal import TemporalJitter, WarpingError

__all__ = [
    "CSIM",
    "FID",
    "KID",
    "LPIPS",
    "BackgroundPreservation",
    "BetaDrift",
    "CodeDistancesMM",
    "CodeErrors",
    "ConcordanceCorrelation",
    "EditQuality",
    "EmotionAccuracy",
    "MaskedPSNR",
    "MaskedSSIM",
    "ReenactmentDistances",
    "ReinferenceErrors",
    "TemporalJitter",
    "WarpingError",
]
