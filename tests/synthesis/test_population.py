from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from diffrig_emo.morphable.synthetic_head import SyntheticHead, emotion_preset
from diffrig_emo.synthesis.population import draw_sitter

N_TEX = 30


def test_population_is_plausible_and_varied():
    head = SyntheticHead()
    sitters = [draw_sitter(0, i, i, head, N_TEX) for i in range(200)]
    assert np.bincount([s.label for s in sitters], minlength=8).min() > 10
    angles = Rotation.from_rotvec(torch.cat([s.codes.global_rotation for s in sitters])).as_euler("YXZ", degrees=True)
    assert (np.abs(angles) <= [35.001, 15.001, 12.001]).all()
    assert np.abs(angles[:, 0]).max() > 25
    shape = torch.cat([s.codes.shape for s in sitters])
    assert 0.7 < shape.std() < 1.0
    assert abs(float(shape.mean())) < 0.05
    jaw = torch.cat([s.codes.jaw_pose for s in sitters])
    assert (jaw[:, 0] >= 0).all()
    assert jaw[:, 0].max() > 0.2


def test_expression_is_the_preset_and_a_little_more():
    head = SyntheticHead()
    for picture in range(30):
        sitter = draw_sitter(1, 0, picture, head, N_TEX)
        preset, _, valence, arousal = emotion_preset(sitter.label)
        wanted = torch.tensor([valence, arousal])
        strength = float(sitter.va @ wanted / (wanted @ wanted)) if sitter.label else 0.0
        extra = sitter.codes.exp[0] - strength * preset
        assert (extra > 1e-5).sum() <= 3
        assert extra.min() > -1e-5
        assert extra.max() <= 0.36
