"""Callbacks: averaged weights, checkpoints, guards and views of a training, written pictures and codes."""

from diffrig_emo.callbacks.adapter_writer import AdapterWriter
from diffrig_emo.callbacks.condition_sensitivity import ConditionSensitivity
from diffrig_emo.callbacks.ema import WeightEMA
from diffrig_emo.callbacks.image_grid import ImageGrid
from diffrig_emo.callbacks.image_writer import ImageWriter
from diffrig_emo.callbacks.last_checkpoint import AtomicCheckpointIO, LastCheckpoint, find_last_checkpoint
from diffrig_emo.callbacks.non_finite import StopOnNonFinite
from diffrig_emo.callbacks.store_writer import StoreWriterCallback

__all__ = [
    "AdapterWriter",
    "AtomicCheckpointIO",
    "ConditionSensitivity",
    "ImageGrid",
    "ImageWriter",
    "LastCheckpoint",
    "StopOnNonFinite",
    "StoreWriterCallback",
    "WeightEMA",
    "find_last_checkpoint",
]
