"""Random but plausible people: codes with a known emotion."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.transform import Rotation
from torch import Tensor

from diffrig_emo.morphable.synthetic_head import SyntheticHead, emotion_preset
from diffrig_emo.structures import FaceCodes
from diffrig_emo.synthesis.draws import generator
from diffrig_emo.synthesis.lighting import draw_light

N_EMOTIONS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sitter:
    """One face of the population."""

    codes: FaceCodes
    """Its codes (batch of 1)."""
    label: int
    """AffectNet emotion, 0..7."""
    va: Float[Tensor, " 2"]
    """Valence and arousal in [-1, 1]."""


def draw_sitter(seed: int, identity: int, picture: int, head: SyntheticHead, n_tex: int) -> Sitter:
    """Draw a face: shape and texture from the identity, the rest from the picture.

    The expression is an emotion preset of random strength with a few named movements on top; valence and
    arousal are the preset's times the same strength.

    Args:
        seed: seed of the data set.
        identity: number of the person.
        picture: number of the picture.
        head: the face model.
        n_tex: number of texture coefficients.
    """
    person = generator(seed, "shape", identity)
    shape, tex = person.normal(0, 0.85, head.n_shape).clip(-2.5, 2.5), person.normal(0, 0.85, n_tex).clip(-2.5, 2.5)
    rng = generator(seed, "expression", picture)
    label = int(rng.integers(N_EMOTIONS))
    strength = rng.uniform(0.6, 1.1)
    preset, preset_jaw, valence, arousal = emotion_preset(label)
    exp = strength * preset
    for name in rng.choice(np.array(head.expression_names), size=int(rng.integers(0, 4)), replace=False):
        exp = exp + float(rng.uniform(0.05, 0.35)) * head.expression_codes(str(name))
    jaw = strength * preset_jaw
    if rng.random() < 0.25:
        jaw = jaw + torch.tensor([rng.uniform(0.02, 0.2), rng.normal(0, 0.01), 0.0], dtype=torch.float32)
    numbers = (shape, tex, _draw_pose(seed, picture), _draw_cam(seed, picture))
    shape_, tex_, rotation, cam = (torch.from_numpy(n).float()[None] for n in numbers)
    codes = FaceCodes(
        shape=shape_,
        tex=tex_,
        exp=exp[None].float(),
        pose=torch.cat([rotation, jaw[None].float()], dim=1),
        cam=cam,
        light=draw_light(seed, picture)[None],
        space=head.space,
    )
    return Sitter(codes=codes, label=label, va=torch.tensor([valence, arousal]).mul(strength).clamp(-1, 1))


def _draw_pose(seed: int, picture: int) -> np.ndarray:
    """Global rotation: yaw within 35 degrees, pitch within 15, roll within 12."""
    rng = generator(seed, "pose", picture)
    angles = rng.normal(0, (15, 6, 4)).clip((-35, -15, -12), (35, 15, 12))
    return np.asarray(Rotation.from_euler("YXZ", angles, degrees=True).as_rotvec())


def _draw_cam(seed: int, picture: int) -> np.ndarray:
    """Scale and shift of a face that fills most of the picture."""
    rng = generator(seed, "cam", picture)
    return np.array([rng.uniform(6.8, 7.7), rng.normal(0, 0.005), rng.normal(0, 0.005)])
