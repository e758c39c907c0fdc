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

    def unconditional(self, batch: FaceBatch) -> Conditioning:
        """The same without what training dropped at random, for classifier-free guidance.

        A conditioner that drops nothing always gives its conditions.
        """
        conditioning: Conditioning = self(batch)
        return conditioning
