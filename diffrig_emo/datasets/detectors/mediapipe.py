"""Landmarks by MediaPipe's face mesh."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.datasets.detectors.base import DetectedFaces, FaceDetector
from diffrig_emo.utils.imports import require

# Vertices of the mesh that lie where the 68 points do, picked from its named contours. The mesh has no counterpart for
# the sides of the nose's bridge or the jaw's exact spacing; those are its nearest vertices.
MESH_OF_68 = (
    *(127, 234, 132, 58, 172, 150, 149, 148, 152, 377, 378, 379, 397, 288, 361, 454, 356),  # jaw, from image left
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
    *(168, 197, 5, 4, 98, 97, 2, 326, 327),  # nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91),  # outer lips
    *(78, 81, 13, 311, 308, 402, 14, 178),  # inner lips
)
"""For each of the 68 landmarks, the vertex of MediaPipe's mesh (468 vertices, or 478 with irises)."""


class MediaPipeDetector(FaceDetector):
    """The 68 landmarks out of MediaPipe's mesh of 478 (Kartynnik et al. 2019), from its model file.

    They differ from FAN's by a few hundredths of the face: close enough to align and crop, not to train landmarks on.

    Args:
        path: `face_landmarker.task`, of MediaPipe's model page.
        max_faces: how many faces to look for.
        threshold: least confidence of a face, 0 to 1.

    Raises:
        ImportError: when the package is missing, with the command that installs it.
        FileNotFoundError: when there is no such file.
    """

    def __init__(self, path: str | Path, max_faces: int = 10, threshold: float = 0.5) -> None:
        install = 'pip install "diffrig_emo[detectors]"'
        self._package = require("mediapipe", purpose="MediaPipeDetector", install=install)
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: expected MediaPipe's face_landmarker.task, but it is not there")
        tasks = require("mediapipe.tasks.python", purpose="MediaPipeDetector", install=install)
        options = tasks.vision.FaceLandmarkerOptions(
            base_options=tasks.BaseOptions(model_asset_path=str(path)),
            num_faces=max_faces,
            min_face_detection_confidence=threshold,
        )
        self._network = tasks.vision.FaceLandmarker.create_from_options(options)

    def __call__(self, photo: Float[Tensor, "3 height width"]) -> DetectedFaces:
        """Landmarks of all faces found; every score is 1."""
        pixels = (photo.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()
        picture = self._package.Image(image_format=self._package.ImageFormat.SRGB, data=pixels)
        found = self._network.detect(picture).face_landmarks
        points = torch.tensor([[[face[i].x, face[i].y] for i in MESH_OF_68] for face in found]).reshape(-1, 68, 2)
        # MediaPipe counts 0 to 1 from edge to edge.
        return DetectedFaces.from_landmarks(points * torch.tensor([photo.shape[2], photo.shape[1]]) - 0.5)
