import torch

from diffrig_emo.morphable.synthetic_head import emotion_preset
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.synthesis.emotions import with_emotion


def test_the_emotion_is_exchanged_and_everything_else_stays():
    faces = SyntheticFaces(12, 64, seed=3).truth()
    target = (faces["label"] + 1) % 8
    codes = with_emotion(faces["codes"], faces["label"], faces["va"], target)
    for name in ("shape", "tex", "light", "cam", "global_rotation"):
        assert torch.equal(getattr(codes, name), getattr(faces["codes"], name))
    # There and back, in the strength that the face had, is nothing: what is its own was never touched.
    for face in range(12):
        exp, _, *va = emotion_preset(int(faces["label"][face]))
        if not any(va):
            continue
        strength = float((faces["va"][face] / torch.tensor(va))[torch.tensor(va) != 0].max())
        new = emotion_preset(int(target[face]))
        expected = faces["codes"].exp[face] - strength * exp + 0.85 * new[0]
        torch.testing.assert_close(codes.exp[face], expected, rtol=1e-3, atol=0.02)
