"""Bridges from a batch of faces to what a denoiser is conditioned on."""

from diffrig_emo.conditioning.base import Conditioner
from diffrig_emo.conditioning.buffers import BufferConditioner
from diffrig_emo.conditioning.global_code import GlobalCodeConditioner

__all__ = ["BufferConditioner", "Conditioner", "GlobalCodeConditioner"]
