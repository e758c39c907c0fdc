"""OpenCV's small face detector."""

from __future__ import annotations

from pathlib import Path

import cv2
import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.datasets.detectors.base import DetectedFaces, FaceDetector
from diffrig_emo.transforms.resizing import resize_picture


class YuNetDetector(FaceDetector):
    """Boxes by YuNet (Wu et al. 2023), from its ONNX file; turned and small faces too, in milliseconds.

    The file is `face_detection_yunet_2023mar.onnx` of OpenCV's model zoo (MIT licence), 230 kB.

    Args:
        path: the ONNX file.
        threshold: least score of a face, 0 to 1.
        longest_side: photos with a longer side, in pixels, are looked at smaller: it was trained on faces up to 300.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when OpenCV cannot read it.
    """

    def __init__(self, path: str | Path, threshold: float = 0.7, longest_side: int = 640) -> None:
        if not Path(path).is_file():
            raise FileNotFoundError(f"{path}: expected YuNet's ONNX file, from OpenCV's model zoo, but it is not there")
        try:
            self._network = cv2.FaceDetectorYN.create(str(path), "", (320, 320), threshold)
        except cv2.error as error:
            raise ValueError(f"{path}: expected YuNet's ONNX file, but OpenCV cannot read it ({error})") from error
        self.longest_side = longest_side

    def __call__(self, photo: Float[Tensor, "3 height width"]) -> DetectedFaces:
        """Boxes and scores of all faces found."""
        height, width = photo.shape[1:]
        zoom = min(1.0, self.longest_side / max(height, width))
        size = (max(1, round(height * zoom)), max(1, round(width * zoom)))
        small = (resize_picture(photo.clamp(0, 1), size) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        self._network.setInputSize((size[1], size[0]))
        _, found = self._network.detect(small[:, :, ::-1].copy())  # OpenCV wants BGR
        rows = torch.zeros(0, 15) if found is None else torch.from_numpy(found).float()
        # Each row: left, top, width, height, five points, score.
        corners = torch.cat([rows[:, :2], rows[:, :2] + rows[:, 2:4]], dim=1)
        scale = torch.tensor([width / size[1], height / size[0]]).repeat(2)
        return DetectedFaces(corners * scale - 0.5, rows[:, 14], "bbox")
