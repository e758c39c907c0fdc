"""Photographs that differ in the emotion alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from diffrig_emo.morphable.synthetic_head import emotion_preset
from diffrig_emo.synthesis.draws import generator
from diffrig_emo.synthesis.emotions import with_emotion
from diffrig_emo.synthesis.faces import SyntheticFaces
from diffrig_emo.synthesis.nuisances import Nuisances
from diffrig_emo.synthesis.population import N_EMOTIONS, Sitter


class SyntheticScenes(SyntheticFaces):
    """Every face of `SyntheticFaces` with each of the eight emotions: person, pose, light and surroundings stay.

    Photograph `8 * s + e` shows face `s` of `SyntheticFaces(num_scenes, image_size, seed)` with emotion `e`, in a
    strength of its own, and with the small movements that the face has on top.

    Args:
        num_scenes: number of faces; there are eight photographs of each.
        image_size: side of the square photographs in pixels.
        seed: another seed gives other people.

    Raises:
        ValueError: as `SyntheticFaces`.

    Example:
        >>> scenes = SyntheticScenes(num_scenes=2, image_size=32)
        >>> len(scenes), [int(scenes.truth([n])["label"]) for n in (0, 9, 15)]
        (16, [0, 1, 7])
        >>> happy, sad = scenes.codes([9]), scenes.codes([10])
        >>> torch.equal(happy.light, sad.light), torch.equal(happy.exp, sad.exp)
        (True, False)
    """

    def __init__(self, num_scenes: int, image_size: int = 64, seed: int = 0) -> None:
        super().__init__(N_EMOTIONS * num_scenes, image_size, seed)

    def _sitters(self, numbers: Sequence[int]) -> list[Sitter]:
        plain = super()._sitters([number // N_EMOTIONS for number in numbers])
        sitters = []
        for number, sitter in zip(numbers, plain, strict=True):
            label = number % N_EMOTIONS
            strength = torch.tensor(generator(self.seed, "emotion", number).uniform(0.6, 1.1), dtype=torch.float32)
            own, wanted = torch.tensor([sitter.label]), torch.tensor([label])
            codes = with_emotion(sitter.codes, own, sitter.va[None], wanted, strength)
            felt = torch.tensor(emotion_preset(label)[2:])
            sitters.append(Sitter(codes=codes, label=label, va=(strength * felt).clamp(-1, 1)))
        return sitters

    def _nuisances(self, numbers: Sequence[int], sitters: Sequence[Sitter]) -> Nuisances:
        scenes = [number // N_EMOTIONS for number in numbers]
        return super()._nuisances(scenes, super()._sitters(scenes))
