"""Finding faces in photographs."""

from diffrig_emo.datasets.detectors.base import DetectedFaces, FaceDetector, FacePolicy
from diffrig_emo.datasets.detectors.cascade import CascadeDetector
from diffrig_emo.datasets.detectors.face_alignment import FaceAlignmentDetector
from diffrig_emo.datasets.detectors.mediapipe import MediaPipeDetector
from diffrig_emo.datasets.detectors.sidecar import read_landmarks
from diffrig_emo.datasets.detectors.stored import StoredFaces
from diffrig_emo.datasets.detectors.yunet import YuNetDetector

__all__ = [
    "CascadeDetector",
    "DetectedFaces",
    "FaceAlignmentDetector",
    "FaceDetector",
    "FacePolicy",
    "MediaPipeDetector",
    "StoredFaces",
    "YuNetDetector",
    "read_landmarks",
]
