"""One small data set for all tests of the room: building the head takes about a second."""

from __future__ import annotations

import pytest

from diffrig_emo.synthesis import SyntheticFaces


@pytest.fixture(scope="session")
def faces():
    """Two albums' worth of noisy pictures."""
    return SyntheticFaces(num_faces=12, image_size=32, seed=3, images_per_identity=2)


@pytest.fixture(scope="session")
def clean(faces):
    """All of its pictures before the camera."""
    return faces.photograph(range(12), clean=True)
