"""The interface of every bridge from a batch of faces to a denoiser's conditions."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from diffrig_emo.structures import Conditioning, FaceBatch


class Conditioner(nn.Module, ABC):
    """One source of conditions. A model merges the outputs of a list of them."""

    @abstractmethod
    def forward(self, batch: FaceBatch) -> Conditioning:
        """Conditions of the faces of a batch."""
