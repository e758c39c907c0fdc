"""Bridges from a batch of faces to what a denoiser is conditioned on."""

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.conditioning.buffers import BufferConditioner
from diffrig_emo.conditioning.global_code import GlobalCodeConditioner
from diffrig_emo.conditioning.landmarks import landmarks_from_codes

__all__ = ["BufferConditioner", "Conditioner", "GlobalCodeConditioner", "landmarks_from_codes"]
