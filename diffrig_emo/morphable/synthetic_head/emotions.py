"""How the synthetic head shows the eight emotions of AffectNet."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Emotion:
    """A face for an emotion."""

    valence: float
    """Unpleasant (-1) to pleasant (1)."""
    arousal: float
    """Calm (-1) to excited (1)."""
    jaw: float = 0.0
    """Opening of the jaw, radians."""
    expression: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Values by name of expression."""


def _both_lids(value: float) -> dict[str, float]:
    return {"lids_close_left": value, "lids_close_right": value}


EMOTIONS: dict[str, Emotion] = {
    "neutral": Emotion(0.0, 0.0),
    "happy": Emotion(
        0.80,
        0.35,
        jaw=0.07,
        expression={
            "smile": 1.05,
            "upper_lip_raise": 0.45,
            "cheek_raise": 0.8,
            "lids_tighten": 0.6,
            "lower_lip_depress": 0.25,
        },
    ),
    "sad": Emotion(
        -0.70,
        -0.30,
        expression={
            "frown": 1.1,
            "brow_inner_raise": 1.15,
            "lip_corner_depress": 0.5,
            "chin_raise": 0.2,
            **_both_lids(0.28),
        },
    ),
    "surprise": Emotion(0.15, 0.80, jaw=0.32, expression={"brow_raise": 1.3, "lids_widen": 1.1, "pucker": 0.25}),
    "fear": Emotion(
        -0.60,
        0.75,
        jaw=0.12,
        expression={
            "brow_raise": 0.8,
            "brow_inner_raise": 0.9,
            "brow_furrow": 0.5,
            "lids_widen": 1.2,
            "stretch": 1.1,
            "lower_lip_depress": 0.7,
            "lip_corner_depress": 0.3,
        },
    ),
    "disgust": Emotion(
        -0.65,
        0.35,
        jaw=0.03,
        expression={
            "nose_wrinkle": 1.4,
            "upper_lip_raise": 0.85,
            "brow_furrow": 0.5,
            "lids_tighten": 0.9,
            "lip_corner_depress": 0.5,
            "cheek_raise": 0.5,
            "chin_raise": 0.3,
            **_both_lids(0.12),
        },
    ),
    "anger": Emotion(
        -0.55,
        0.75,
        expression={
            "brow_furrow": 1.4,
            "lids_widen": 0.4,
            "lids_tighten": 0.5,
            "press": 0.8,
            "frown": 0.45,
            "nose_wrinkle": 0.35,
        },
    ),
    "contempt": Emotion(
        -0.45,
        0.15,
        expression={"smirk_left": 1.15, "press": 0.25, "chin_raise": 0.2, **_both_lids(0.18)},
    ),
}
"""By name, in the order of AffectNet's labels 0..7."""
