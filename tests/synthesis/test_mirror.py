import torch

from diffrig_emo.conditioning import BufferConditioner
from diffrig_emo.morphable import SyntheticHead, SyntheticTexture
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.synthesis.mirror import mirrored_codes


def test_the_rendering_of_mirrored_codes_is_the_mirrored_rendering():
    codes = SyntheticFaces(6, 64, seed=11).codes()
    bridge = BufferConditioner(SyntheticHead(), SyntheticTexture(), BufferRenderer(128))
    with torch.no_grad():
        there, back = bridge.render(codes), bridge.render(mirrored_codes(codes))
    for name in ("rendered", "albedo", "mask"):
        difference = (getattr(there, name).flip(-1) - getattr(back, name)).abs()
        assert difference.mean() < 0.01, name
        assert (difference > 0.1).float().mean() < 0.02, name


def test_twice_in_the_mirror_is_the_face_itself():
    codes = SyntheticFaces(3, 64, seed=11).codes()
    twice = mirrored_codes(mirrored_codes(codes))
    for name in ("shape", "exp", "pose", "cam", "light", "tex"):
        assert torch.equal(getattr(twice, name), getattr(codes, name))
