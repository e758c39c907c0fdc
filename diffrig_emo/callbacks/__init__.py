"""Callbacks: averaged weights, written predictions."""

from diffrig_emo.callbacks.ema import WeightEMA
from diffrig_emo.callbacks.image_writer import ImageWriter

__all__ = ["ImageWriter", "WeightEMA"]
