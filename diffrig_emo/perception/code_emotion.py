"""Emotions from codes alone, without a picture."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from torch import nn
from typing_extensions import Self

from diffrig_emo.perception.base import N_EMOTIONS, EmotionPrediction
from diffrig_emo.perception.emoca_files import find_checkpoint
from diffrig_emo.perception.frozen import load_network
from diffrig_emo.structures import FaceCodes
from diffrig_emo.utils.licensed import keep_out_of_checkpoints

_SIZES = {"shape": 100, "exp": 50, "jaw_pose": 3}
"""Codes that the network reads, in its order."""
_WIDTH = 2048
_SPACE = "flame2020"


class EmocaCodeRecognizer(nn.Module):
    """EMOCA-emorec: shape, expression and jaw to emotion, valence and arousal, by the authors' file.

    A judge of edits that needs no rendering. The weights are licensed, so they are frozen, always in eval mode, left
    out of checkpoints and read again.

    Args:
        path: the `.ckpt`; the model's folder (`EMOCA-emorec`); or a folder to search for it. None: it is looked for
            where `diffrig_emo.utils.assets` looks.

    Raises:
        FileNotFoundError: saying where the model was looked for and where to get it.
        ValueError: when the file is damaged, tries to run code, or does not hold exactly this network.

    Example:
        ```python
        recognizer = EmocaCodeRecognizer("assets/EMOCA-emorec")
        seen = recognizer(emoca(crop))
        ```
    """

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__()
        self.feature_dim = _WIDTH
        with torch.device("meta"):
            network = _Network()
        load_network(find_checkpoint("emoca_emorec", path), network, ("mlp.",))
        self.network = network
        keep_out_of_checkpoints(self.eval())

    def train(self, mode: bool = True) -> Self:
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, codes: FaceCodes) -> EmotionPrediction:
        """Emotions that EMOCA's codes express.

        Raises:
            StructError: when the codes are of another space.
            ValueError: when they have other sizes.
        """
        codes.require_space(_SPACE)
        parts = [getattr(codes, name) for name in _SIZES]
        for (name, size), part in zip(_SIZES.items(), parts, strict=True):
            if part.shape[1] != size:
                raise ValueError(f"FaceCodes.{name}: EMOCA-emorec wants {size} coefficients, got {part.shape[1]}")
        layers = self.network.mlp.model
        feature = layers[:-1](torch.cat(parts, dim=1))
        outputs = layers[-1](feature)
        va = outputs[:, N_EMOTIONS:].clamp(-1, 1)
        return EmotionPrediction(logits=outputs[:, :N_EMOTIONS], va=va, feature=feature)


class _Network(nn.Module):
    """The perceptron, under the authors' names."""

    def __init__(self) -> None:
        super().__init__()
        widths = [sum(_SIZES.values()), *[_WIDTH] * 4]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.LeakyReLU(0.2)]
        self.mlp = _Perceptron(nn.Sequential(*layers, nn.Linear(_WIDTH, N_EMOTIONS + 2)))


class _Perceptron(nn.Module):
    def __init__(self, model: nn.Sequential) -> None:
        super().__init__()
        self.model = model
