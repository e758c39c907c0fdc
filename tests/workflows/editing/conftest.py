"""A rig that paints what it is told by rendering it, and an encoder that recognises pictures and tells the truth."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from diffrig_emo.cli import main
from diffrig_emo.modules import FaceDiffusion, FaceEncoder
from diffrig_emo.morphable import MorphableEncoder, SyntheticHead
from diffrig_emo.structures import FaceCodes
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.workflows.editing import rigs
from diffrig_emo.workflows.experiment import load_experiment


class Knows(MorphableEncoder):
    """Tells the true codes of the picture that is most like what it sees."""

    space = SyntheticHead.space
    image_size = 64

    def __init__(self, images, codes):
        super().__init__()
        self.images = F.adaptive_avg_pool2d(images, 16).flatten(1)
        self.codes = codes

    def forward(self, crop):
        seen = F.adaptive_avg_pool2d(crop.image.cpu(), 16).flatten(1)
        return self.codes[torch.cdist(seen, self.images).argmin(dim=1)]


@pytest.fixture(scope="session")
def people():
    """Photographs of four synthetic people, 64 pixels, and of the first one with the expressions of the others."""
    faces = SyntheticFaces(4, 64, seed=3)
    codes = faces.codes()
    moving = codes[[0] * 4].replace(exp=codes.exp, pose=torch.cat([codes.pose[[0] * 4, :3], codes.pose[:, 3:]], 1))
    stills = faces.photograph(range(4))
    frames = torch.cat([stills[:1], faces.photograph([0, 0, 0], moving[1:])])
    return {"images": stills, "codes": codes, "frames": frames, "moving": moving}


@pytest.fixture(scope="session")
def small_rig():
    rig = load_experiment("fit_synthetic_64.yaml", ["--trainer.logger=false", "--trainer.callbacks=null"]).model
    assert isinstance(rig, FaceDiffusion)
    return rig.eval()


@pytest.fixture
def shipped(people, small_rig, monkeypatch, tmp_path):
    """What comes with the package, in small; and no official file anywhere."""
    both = torch.cat([people["images"], people["frames"]])
    knows = FaceEncoder(Knows(both, FaceCodes.cat([people["codes"], people["moving"]]))).eval()
    monkeypatch.setattr(rigs, "shipped_rig", lambda: small_rig)
    monkeypatch.setattr(rigs, "shipped_encoder", lambda: knows)
    monkeypatch.delenv("DIFFRIG_EMO_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return small_rig


@pytest.fixture
def painted(monkeypatch):
    """Makes every rig paint the rendering of what is wanted; gives what each call was told."""
    calls = []

    def edit(self, batch, codes=None, **told):
        calls.append({"batch": batch, "codes": codes, **told})
        bridge = rigs.Reach.of(self).bridge
        return batch["image"] / 2 if bridge is None else bridge.render(codes).rendered.clamp(0, 1)

    monkeypatch.setattr(FaceDiffusion, "edit", edit)
    monkeypatch.setattr(FaceDiffusion, "invert", lambda self, image, conditioning, strength=1.0: image * strength)
    return calls


@pytest.fixture
def cli(tmp_path):
    """The real command; gives the folder of its results."""

    def run(*words):
        main(["edit", *map(str, words), "--output", str(tmp_path / "out")])
        return tmp_path / "out"

    return run
