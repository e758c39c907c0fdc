"""Losses: functions, and thin modules around them."""

from diffrig_emo.losses.codes import CodeLoss
from diffrig_emo.losses.diffusion import LossWeighting, MinSNRWeighting, P2Weighting

__all__ = ["CodeLoss", "LossWeighting", "MinSNRWeighting", "P2Weighting"]
