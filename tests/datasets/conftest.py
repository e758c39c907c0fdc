"""Faces of a small code space, and how to read all of a store."""

import numpy as np
import pytest
import torch

from diffrig_emo.datasets import CodeStore
from diffrig_emo.structures import FaceCodes


def _codes(seed: int, **sizes: int) -> FaceCodes:
    generator = torch.Generator().manual_seed(seed)
    wanted = {"n_shape": 4, "n_tex": 3, "n_exp": 2} | sizes
    zeros = FaceCodes.zeros(1, **wanted, space="small")
    fields = ("shape", "tex", "exp", "pose", "cam", "light")
    return zeros.replace(
        **{name: torch.randn(getattr(zeros, name).shape, generator=generator) for name in fields},
        tform=torch.randn(1, 3, 3, generator=generator),
    )


@pytest.fixture
def codes():
    """Random codes by seed."""
    return _codes


@pytest.fixture
def content():
    """All of a store, as plain values by key."""

    def read(path):
        store = CodeStore(path)
        coded = store.coded
        found = {}
        for number, note in enumerate(store.notes()):
            columns = {name: store.column(name)[number].tobytes() for name in store.columns} if len(store) < 40 else {}
            found[note["key"]] = (number, bool(coded[number]), store.image_bytes(number), columns)
        assert len(found) == len(store), "a face is stored twice"
        return found

    return read


@pytest.fixture
def grey_png():
    """An encoded picture by number."""
    import cv2

    def encode(number: int, size: int = 8) -> bytes:
        pixels = np.full((size, size, 3), number % 256, np.uint8)
        pixels[0, 0] = (1, 2, 3)
        return cv2.imencode(".png", pixels)[1].tobytes()

    return encode
