"""Metrics that accumulate over batches (torchmetrics classes); the same as functions in `metrics.functional`."""

from diffrig_emo.metrics.codes import CodeErrors
from diffrig_emo.metrics.emotion import ConcordanceCorrelation, EmotionAccuracy
from diffrig_emo.metrics.image import EditQuality, MaskedPSNR, MaskedSSIM

__all__ = ["CodeErrors", "ConcordanceCorrelation", "EditQuality", "EmotionAccuracy", "MaskedPSNR", "MaskedSSIM"]
