"""The stages of an edit with official files, per photograph at 256 pixels; encoders and UNet have files of their own.

The synthetic head stands in for FLAME: about as many vertices, the same interface.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from diffrig_emo.conditioning import BufferConditioner, GlobalCodeConditioner
from diffrig_emo.conditioning.recenter import recenter
from diffrig_emo.datasets.detectors import CascadeDetector
from diffrig_emo.datasets.photos import crop_photo
from diffrig_emo.diffusion import ResNet18GlobalEncoder
from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.morphable import SyntheticHead, SyntheticTexture
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.structures import FaceBatch
from diffrig_emo.synthesis import SyntheticFaces

SIZE = 256


def benchmarks() -> dict[str, Callable[[], object]]:
    face = SyntheticFaces(1, SIZE, 1)[0]
    head = SyntheticHead()
    detect = CascadeDetector()
    bridge = BufferConditioner(head, SyntheticTexture(), BufferRenderer(SIZE))
    look = GlobalCodeConditioner(ResNet18GlobalEncoder(64)).eval()
    batch = FaceBatch(image=face["image"][None], codes=face["codes"])
    folder = Path(tempfile.mkdtemp())
    write_image(folder / "photo.png", face["image"])
    photo = read_image(folder / "photo.png")

    def quiet(run: Callable[[], Any]) -> Callable[[], object]:
        return torch.no_grad()(run)

    return {
        "chain_detect_cascade": quiet(lambda: detect(photo)),
        "chain_read_detect_crop": quiet(lambda: crop_photo(folder / "photo.png", SIZE, detect)),
        "chain_recenter": quiet(lambda: recenter(batch["codes"], batch["codes"], head)),
        "chain_codes_to_buffers_256": quiet(lambda: bridge(batch)),
        "chain_global_code_256": quiet(lambda: look(batch)),
    }
