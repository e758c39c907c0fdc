"""Which faces of a code store are good enough to learn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from diffrig_emo.datasets.store import CodeStore
from diffrig_emo.structures import FaceCodes, FaceMesh
from diffrig_emo.transforms.projection import crop_to_aligned, project
from diffrig_emo.transforms.rotations import to_quaternion

_BLOCK = 256
"""Faces whose meshes are made at once."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Faces that passed, and how many did not, for which reason."""

    mask: NDArray[np.bool_]
    """Which faces passed, (n,)."""
    counts: Mapping[str, int]
    """Faces that each test failed, by its words; a face may fail several."""

    @property
    def indices(self) -> NDArray[np.int64]:
        """Numbers of the faces that passed: what `torch.utils.data.Subset` and `CodeStore.codes` take."""
        return np.flatnonzero(self.mask)


def select_faces(
    store: CodeStore,
    *,
    min_score: float | None = None,
    max_yaw: float | None = None,
    max_error: float | None = None,
    face_model: Callable[[FaceCodes], FaceMesh] | None = None,
    image_size: int | None = None,
) -> Selection:
    """Choose the faces of a store by detector score, head yaw and landmark error. None leaves a test out.

    Faces without codes never pass. What is unknown of a face, such as the score of one that was not detected but given
    by its landmarks, is not held against it.

    Args:
        store: the faces.
        min_score: smallest score of the detector, on its own scale.
        max_yaw: largest turn to either side, degrees.
        max_error: largest landmark error, as a share of the face's size (see `landmark_errors`).
        face_model: makes the meshes for `max_error`.
        image_size: side of the aligned pictures in pixels; None is the store's.

    Raises:
        ValueError: when `max_error` is given without `face_model`, or the store does not have what a test needs, such
            as landmarks that were found in the photos.
    """
    if max_error is not None and face_model is None:
        raise ValueError("face_model: max_error needs the face model of the codes, such as FLAME(), got None")
    failed = {"no codes": ~store.coded}
    if min_score is not None:
        failed[f"score below {min_score:g}"] = _column(store, "quality_score") < min_score
    if max_yaw is not None:
        failed[f"yaw above {max_yaw:g} degrees"] = np.abs(head_yaws(store)) > max_yaw
    if max_error is not None and face_model is not None:
        errors = landmark_errors(store, face_model, image_size)
        failed[f"landmark error above {max_error:g}"] = errors > max_error
    mask = ~np.any(list(failed.values()), axis=0)
    return Selection(mask, {reason: int(faces.sum()) for reason, faces in failed.items()})


def head_yaws(store: CodeStore) -> NDArray[np.float64]:
    """Turn of each head about the vertical, degrees, (n,); positive towards the image's right, NaN without codes.

    The angle between the way that the face looks and straight ahead, seen from above.
    """
    w, x, y, z = to_quaternion(torch.from_numpy(_column(store, "pose")[:, :3]).double()).unbind(dim=-1)
    # The third column of the rotation matrix: where the axis out of the face goes.
    yaw = torch.rad2deg(torch.atan2(2 * (x * z + w * y), 1 - 2 * (x * x + y * y)))
    return yaw.numpy()


def landmark_errors(
    store: CodeStore,
    face_model: Callable[[FaceCodes], FaceMesh],
    image_size: int | None = None,
    crop_size: int = 224,
) -> NDArray[np.float64]:
    """How far the landmarks of the codes lie from those of the photo, (n,); NaN where either is unknown.

    Landmarks that were taken from an encoded mesh, because the detector gave a box only, are no truth: they count as
    unknown.

    The mean distance of the 68 points, divided by the square root of the area of the photo's landmark box: the usual
    "normalised mean error" (about 0.03 for good codes, beyond 0.1 for bad ones).

    Args:
        store: the faces.
        face_model: codes to mesh.
        image_size: side of the aligned pictures in pixels; None is the store's.
        crop_size: side of the encoder's crop in pixels.

    Raises:
        ValueError: when the store has no landmarks, or none but those of meshes.
    """
    image_size = store.image_size if image_size is None else image_size
    truth = _column(store, "landmarks").astype(np.float64)
    if "quality_landmarks" in store.columns:
        truth[store.column("quality_landmarks") == 0] = np.nan
    if np.isnan(truth).all():
        raise ValueError(
            f"{store.path}: all its landmarks are those of the encoded meshes (quality_landmarks is 0), by which no "
            "encoding can be judged. Leave the test out, or prepare the photos into another store with a detector that "
            "finds landmarks, such as FaceAlignmentDetector, or with landmarks beside the photos"
        )
    errors = np.full(len(store), np.nan)
    known = np.flatnonzero(store.coded & np.isfinite(truth).all(axis=(1, 2)))
    for start in range(0, len(known), _BLOCK):
        numbers = known[start : start + _BLOCK]
        codes = store.codes(numbers)
        with torch.no_grad():
            screen = project(face_model(codes).landmarks2d, codes.cam)
        if codes.tform is not None:
            screen = crop_to_aligned(screen, codes.tform, crop_size, (image_size, image_size))
        # Pixel j has its centre at (2 j + 1) / size - 1.
        points = ((screen[..., :2] + 1) * image_size / 2 - 0.5).double().numpy()
        extent = truth[numbers].max(axis=1) - truth[numbers].min(axis=1)
        distances = np.linalg.norm(points - truth[numbers], axis=-1).mean(axis=1)
        errors[numbers] = distances / np.sqrt(extent.prod(axis=1))
    return errors


def _column(store: CodeStore, name: str) -> NDArray[np.float32]:
    if name not in store.columns:
        raise ValueError(
            f"{store.path}: none of its faces has {name!r}, which this test needs; leave the test out, or prepare the "
            "store again with a detector or files that know it"
        )
    return store.column(name)
