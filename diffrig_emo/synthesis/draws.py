"""Random draws that depend on (seed, subject, number) alone, never on what was drawn before."""

from __future__ import annotations

import colorsys

import numpy as np

# Fixed numbers: renumbering a subject would change every picture of every seed.
_SUBJECTS = {
    "shape": 1,
    "expression": 2,
    "pose": 3,
    "light": 4,
    "background": 5,
    "hair": 6,
    "glasses": 7,
    "skin": 8,
    "clothes": 9,
    "camera": 10,
    "cam": 11,
    "emotion": 12,
}


def generator(seed: int, subject: str, number: int) -> np.random.Generator:
    """Random generator of one subject of one identity or picture.

    Each subject has its own stream, so that drawing more of one never changes another.

    Args:
        seed: seed of the data set.
        subject: what is drawn, such as "hair".
        number: number of the identity or of the picture.

    Example:
        >>> bool(generator(0, "hair", 3).random() == generator(0, "hair", 3).random())
        True
    """
    return np.random.default_rng((seed, _SUBJECTS[subject], number))


def colour(rng: np.random.Generator, *, saturation: float = 0.6) -> np.ndarray:
    """Draw an RGB colour in [0, 1] of any hue, not too dark, its HSV saturation at most `saturation`."""
    hue, grey, value = rng.random(), rng.uniform(0, saturation), rng.uniform(0.25, 0.95)
    return np.asarray(colorsys.hsv_to_rgb(hue, grey, value))
