"""Callbacks: averaged weights, written pictures and codes."""

from diffrig_emo.callbacks.ema import WeightEMA
from diffrig_emo.callbacks.image_writer import ImageWriter
from diffrig_emo.callbacks.store_writer import StoreWriterCallback

__all__ = ["ImageWriter", "StoreWriterCallback", "WeightEMA"]
