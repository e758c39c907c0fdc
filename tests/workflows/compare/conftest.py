"""Tiny systems: a rig and two encoders that have learnt nothing, and a recogniser that knows one emotion."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffrig_emo.conditioning import BufferConditioner, EmotionLabelConditioner
from diffrig_emo.diffusion import ConditionedUNet, CrossAttentionUNet, LinearSchedule, VQNetwork
from diffrig_emo.modules import ExpressionRecognizer, FaceDiffusion, FaceEncoder
from diffrig_emo.morphable import DescentEncoder, SyntheticHead, SyntheticTexture
from diffrig_emo.perception import EmotionPrediction, EmotionRecognizer
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.utils.skipped import Skipped
from diffrig_emo.workflows.compare import judging, systems


def tiny_rig(size=32):
    torch.manual_seed(size)
    bridge = BufferConditioner(SyntheticHead(), SyntheticTexture(), BufferRenderer(size))
    unet = ConditionedUNet(image_size=size, spatial_channels=9, base_channels=16, channel_mult=(1, 1), num_res_blocks=1)
    return FaceDiffusion(unet, [bridge], LinearSchedule()).eval()


def tiny_encoder(seed=0, size=16):
    """Codes that depend on the picture, a little."""
    encoder = DescentEncoder(SyntheticHead(), image_size=size, n_points=20, n_stages=1, coarse_size=8)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in encoder.parameters():
            if weight.requires_grad:
                weight += 0.002 * torch.randn(weight.shape, generator=generator)
    return encoder.eval()


def whole_encoder(seed=0):
    """The same, for whole pictures."""
    return FaceEncoder(tiny_encoder(seed)).eval()


class Happy(EmotionRecognizer):
    """Sees happiness everywhere."""

    image_size, feature_dim = 16, 8

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def recognize(self, image):
        logits = torch.zeros(len(image), 8)
        logits[:, 1] = self.scale.detach()
        return EmotionPrediction(logits=logits, va=torch.zeros(len(image), 2), feature=logits)


@pytest.fixture
def shipped(monkeypatch):
    """The shipped models, tiny; nothing else is found on this machine."""
    monkeypatch.setattr(systems, "shipped_rig", tiny_rig)
    monkeypatch.setattr(systems, "shipped_encoder", whole_encoder)
    monkeypatch.setattr(judging, "shipped_recognizer", lambda: ExpressionRecognizer(Happy()).eval())
    for name in ("LPIPSNetwork", "ArcFaceEmbedder"):
        monkeypatch.setattr(judging, name, _missing(name))
    return Skipped


def _missing(name):
    def build():
        raise FileNotFoundError(f"the file of {name} was not found")

    return build


def tiny_label_rig(size=32):
    """A latent emotion model: it knows labels and no codes."""
    torch.manual_seed(size)
    autoencoder = VQNetwork(channels=(8, 16), num_res_blocks=1, num_codes=64, code_dim=4)
    denoiser = CrossAttentionUNet(size // 2, 4, channels=(8, 16), num_heads=(1, 2), num_res_blocks=1, token_dim=16)
    label = EmotionLabelConditioner(dim=16, form="token")
    return FaceDiffusion(denoiser, [label], LinearSchedule(), autoencoder=autoencoder).eval()
