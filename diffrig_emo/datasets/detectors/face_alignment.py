"""The detector that DECA, EMOCA and DiffusionRig use: 68 landmarks by FAN."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.datasets.detectors.base import DetectedFaces, FaceDetector
from diffrig_emo.utils.devices import choose_device
from diffrig_emo.utils.imports import require


class FaceAlignmentDetector(FaceDetector):
    """2-D FAN landmarks (Bulat and Tzimiropoulos 2017) by the `face-alignment` package.

    That package downloads its own weights when it is first constructed.

    Args:
        device: where its networks run; None is the accelerator if there is one, else the CPU.

    Raises:
        ImportError: when the package is missing, with the command that installs it.
    """

    def __init__(self, device: str | None = None) -> None:
        package = require(
            "face_alignment", purpose="FaceAlignmentDetector", install='pip install "diffrig_emo[detectors]"'
        )
        kinds = package.LandmarksType
        kind = kinds.TWO_D if hasattr(kinds, "TWO_D") else kinds._2D  # 1.3 and older
        self._network = package.FaceAlignment(kind, flip_input=False, device=device or str(choose_device()))

    def __call__(self, photo: Float[Tensor, "3 height width"]) -> DetectedFaces:
        """Landmarks of all faces found, in the package's order; every score is 1."""
        pixels = (photo.clamp(0, 1) * 255).byte().permute(1, 2, 0).cpu().numpy()
        found = self._network.get_landmarks_from_image(pixels) or []
        landmarks = torch.from_numpy(np.asarray(found, dtype=np.float32).reshape(-1, 68, 2))
        return DetectedFaces.from_landmarks(landmarks)
