"""The interface of face detectors."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor

from diffrig_emo.transforms.crop import landmark_box

FacePolicy: TypeAlias = Literal["largest", "center", "all"] | int
"""Which faces of a photo are meant; see `DetectedFaces.choose`."""


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

    def choose(self, policy: FacePolicy, photo_size: tuple[int, int]) -> list[int]:
        """Numbers of the faces that a policy wants; none when there is no face.

        Args:
            policy: "largest" box, box nearest to the "center" of the photo, "all" from left to right, or which one
                from the left, from 0.
            photo_size: (height, width) of the photo.

        Raises:
            ValueError: when the policy is none of these, or there is no such face.

        Example:
            >>> import torch
            >>> boxes = torch.tensor([[50.0, 10, 60, 20], [0, 0, 30, 30]])
            >>> faces = DetectedFaces(boxes, torch.ones(2), "bbox")
            >>> [faces.choose(policy, (40, 100)) for policy in ("largest", "center", "all", 1)]
            [[1], [0], [1, 0], [0]]
        """
        numbered = isinstance(policy, int) and not isinstance(policy, bool) and policy >= 0
        if not numbered and policy not in ("largest", "center", "all"):
            raise ValueError(f"face_policy: expected 'largest', 'center', 'all' or 0, 1, ..., got {policy!r}")
        if not len(self):
            return []
        corners = self.boxes.reshape(-1, 2, 2)
        if policy == "largest":
            return [int((corners[:, 1] - corners[:, 0]).prod(dim=1).argmax())]
        centres = corners.mean(dim=1)
        if policy == "center":
            middle = centres.new_tensor([photo_size[1] - 1, photo_size[0] - 1]) / 2
            return [int((centres - middle).square().sum(dim=1).argmin())]
        order: list[int] = centres[:, 0].argsort(stable=True).tolist()
        if policy == "all":
            return order
        if int(policy) >= len(order):
            raise ValueError(f"face_policy: expected a face of {len(order)}, counted from 0, got number {policy}")
        return [order[int(policy)]]


class FaceDetector(ABC):
    """Finds the faces of a photograph."""

    @abstractmethod
    def __call__(self, photo: Float[Tensor, "3 height width"]) -> DetectedFaces:
        """All faces of a photo, RGB in [0, 1]; none is an answer, not an error."""

    def in_file(self, path: str | Path, photo: Float[Tensor, "3 height width"], zoom: float = 1.0) -> DetectedFaces:
        """All faces of a photo whose file is known; only detectors that have records by file need it.

        Args:
            path: the file.
            photo: what `read_image` reads from it.
            zoom: size of `photo` relative to the file's pixels (`read_zoom`).

        Returns:
            The faces in pixels of `photo`.
        """
        return self(photo)
