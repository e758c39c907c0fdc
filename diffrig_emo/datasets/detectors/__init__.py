"""Finding faces in photographs."""

from diffrig_emo.datasets.detectors.base import DetectedFaces, FaceDetector
from diffrig_emo.datasets.detectors.cascade import CascadeDetector
from diffrig_emo.datasets.detectors.face_alignment import FaceAlignmentDetector
from diffrig_emo.datasets.detectors.sidecar import read_landmarks

__all__ = ["CascadeDetector", "DetectedFaces", "FaceAlignmentDetector", "FaceDetector", "read_landmarks"]
