"""The interface of face detectors."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from diffrig_emo.transforms.crop import landmark_box


@dataclasses.dataclass(frozen=True)
class DetectedFaces:
    """The faces of one photograph. Pixel coordinates put integers at pixel centres."""

    boxes: Float[Tensor, "n_faces 4"]
    """Left, top, right, bottom."""
    scores: Float[Tensor, " n_faces"]
    """How sure the detector is; its own scale."""
    kind: Literal["kpt68", "bbox"]
    """What the boxes enclose: the 68 landmarks, or what a detector calls a face (see `transforms.crop.crop_tform`)."""
    landmarks: Float[Tensor, "n_faces 68 2"] | None = None
    """The 68 landmarks, where the detector knows them."""

    @classmethod
    def from_landmarks(
        cls, landmarks: Float[Tensor, "n_faces 68 2"], scores: Float[Tensor, " n_faces"] | None = None
    ) -> DetectedFaces:
        """Faces known by their landmarks; without scores, each counts 1."""
        scores = landmarks.new_ones(len(landmarks)) if scores is None else scores
        return cls(landmark_box(landmarks), scores, "kpt68", landmarks)

    def __len__(self) -> int:
        return len(self.boxes)

    def largest(self) -> int:
        """Number of the face with the largest box.

        Raises:
            ValueError: when there is no face.
        """
        if not len(self):
            raise ValueError("no face was found")
        left, top, right, bottom = self.boxes.unbind(dim=1)
        return int(((right - left) * (bottom - top)).argmax())


class FaceDetector(ABC):
    """Finds the faces of a photograph."""

    @abstractmethod
    def __call__(self, photo: Float[Tensor, "3 height width"]) -> DetectedFaces:
        """All faces of a photo, RGB in [0, 1]; none is an answer, not an error."""
