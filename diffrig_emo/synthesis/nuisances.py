"""Everything in a photograph that neither the codes nor the physical buffers carry."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from diffrig_emo.synthesis.background import Background
from diffrig_emo.synthesis.clothes import Clothes
from diffrig_emo.synthesis.draws import generator
from diffrig_emo.synthesis.glasses import Glasses
from diffrig_emo.synthesis.hair import Hair
from diffrig_emo.synthesis.skin import Skin


@dataclasses.dataclass(frozen=True, kw_only=True)
class Nuisances:
    """Nuisances of a batch of faces.

    Hair, glasses, skin and clothes belong to an identity; the background belongs to a picture.
    """

    background: Background
    hair: Hair
    glasses: Glasses
    clothes: Clothes
    skin: Skin

    @classmethod
    def draw(
        cls,
        seed: int,
        identity: int,
        picture: int,
        sites: Float[np.ndarray, "n 2"],
        natural_hair: Float[np.ndarray, " 3"],
    ) -> Nuisances:
        """Draw the nuisances of one picture (batch of 1).

        Args:
            seed: seed of the data set.
            identity: number of the person.
            picture: number of the picture.
            sites: texture coordinates where freckles may sit.
            natural_hair: RGB of the hair that the person's texture paints on the scalp.
        """
        return cls(
            background=Background.draw(generator(seed, "background", picture)),
            hair=Hair.draw(generator(seed, "hair", identity), natural_hair),
            glasses=Glasses.draw(generator(seed, "glasses", identity)),
            clothes=Clothes.draw(generator(seed, "clothes", identity)),
            skin=Skin.draw(generator(seed, "skin", identity), sites),
        )

    @classmethod
    def cat(cls, items: Sequence[Nuisances]) -> Nuisances:
        """Join along the batch axis."""
        return cls(
            background=Background.cat([i.background for i in items]),
            hair=Hair.cat([i.hair for i in items]),
            glasses=Glasses.cat([i.glasses for i in items]),
            clothes=Clothes.cat([i.clothes for i in items]),
            skin=Skin.cat([i.skin for i in items]),
        )

    def surrounded_by(self, donor: Nuisances) -> Nuisances:
        """Take over the donor's background, hair, glasses and clothes; the skin stays."""
        return dataclasses.replace(donor, skin=self.skin)
