"""The faces of an edit: found in photographs, cut out, read into codes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.datasets.detectors import CascadeDetector, FaceDetector
from diffrig_emo.datasets.photo_faces import whole_crop
from diffrig_emo.datasets.photos import Align, crop_photos
from diffrig_emo.io.images import read_image
from diffrig_emo.modules import FaceDiffusion, FaceEncoder
from diffrig_emo.morphable import MorphableEncoder, SyntheticHead
from diffrig_emo.structures import FaceBatch, FaceCodes, FaceCrop
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.workflows.editing.rigs import Reach

BUNDLED_SEED = 3
"""Seed of the synthetic faces that stand in where no photograph is given; no shipped model has seen them."""

Encoder = MorphableEncoder | FaceEncoder


@dataclasses.dataclass(frozen=True)
class Face:
    """One face of a photograph, as the rig takes it."""

    path: Path
    aligned: Float[Tensor, "1 3 size size"]
    """What the rig sees, RGB in [0, 1]."""
    codes: FaceCodes | None
    """Its codes; None for rigs that know none."""
    photo: Float[Tensor, "3 height width"] | None = None
    """The whole photograph, RGB in [0, 1]."""
    photo_to_aligned: Float[Tensor, "3 3"] | None = None
    """Similarity from pixels of the photo to those of the aligned picture."""

    def known_codes(self) -> FaceCodes:
        """Its codes.

        Raises:
            ValueError: when nobody read any.
        """
        if self.codes is None:
            raise ValueError(f"{self.path}: this rig has no face model, so its faces have no codes to change")
        return self.codes


class FaceReader:
    """Photographs to faces.

    A `MorphableEncoder` gets the crop around the face that the detector finds. A `FaceEncoder` of ours, which was
    trained on whole aligned pictures, gets those: a square photo is one already, unless a detector is named; of any
    other the square around its face is taken.

    Args:
        reach: what the rig wants.
        encoder: photo to codes; None for rigs that know no codes.
        detector: finds faces; None is `CascadeDetector`, made when it is needed first.
        face_policy: which face of a photo with several.
        all_faces: take every face of a photo, from left to right.
        device: where the networks are.
    """

    def __init__(
        self,
        reach: Reach,
        encoder: Encoder | None,
        detector: FaceDetector | None = None,
        face_policy: Literal["largest", "center"] | int = "largest",
        all_faces: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.reach = reach
        self.encoder = encoder
        self.face_policy = face_policy
        self.all_faces = all_faces
        self.device = torch.device(device)
        self._given = detector
        self._made: FaceDetector | None = detector

    @property
    def detector(self) -> FaceDetector:
        """What finds faces."""
        if self._made is None:
            self._made = CascadeDetector()
        return self._made

    @property
    def reads_whole(self) -> bool:
        """Whether codes are read off the whole aligned picture."""
        return not isinstance(self.encoder, MorphableEncoder)

    @property
    def crop_size(self) -> int:
        """Side in pixels of the crop that the encoder wants."""
        return self.encoder.image_size if isinstance(self.encoder, MorphableEncoder) else self.reach.size

    @property
    def align(self) -> Align:
        """How aligned pictures are cut."""
        return "tight" if self.reads_whole or self.all_faces else "auto"

    def takes_whole(self, photo_size: tuple[int, int]) -> bool:
        """Whether a photo of (height, width) is an aligned picture as it is."""
        looked_for = not self.reads_whole or self.all_faces or self._given is not None
        return not looked_for and photo_size[0] == photo_size[1]

    def read(self, path: Path) -> list[Face]:
        """The faces of a photograph: one, or all.

        Raises:
            FileNotFoundError: when there is no such file.
            NoFaceError: when no face is found.
            ValueError: when the file is no complete picture, or it lacks the face asked for.
            StructError: when the encoder gives codes that are not finite or not of the rig's space.
        """
        photo = read_image(path)
        if self.takes_whole((photo.shape[1], photo.shape[2])):
            crop = whole_crop(photo, self.reach.size, self.crop_size)
        else:
            policy = "all" if self.all_faces else self.face_policy
            crop = crop_photos(
                path, self.reach.size, self.detector, self.crop_size, face_policy=policy, align=self.align
            )
        codes = self.encode(crop)
        assert crop.aligned is not None  # both ways of cropping give them
        assert crop.photo_to_aligned is not None
        return [
            Face(
                path,
                crop.aligned[[i]].to(self.device),
                None if codes is None else codes[i],
                photo,
                crop.photo_to_aligned[i],
            )
            for i in range(crop.batch_size)
        ]

    @torch.no_grad()
    def encode(self, crop: FaceCrop) -> FaceCodes | None:
        """Codes of some crops, on the device; None where the rig knows no codes.

        Raises:
            StructError: when they are not finite, or not of the rig's space.
        """
        if self.encoder is None or self.reach.space is None:
            return None
        if isinstance(self.encoder, FaceEncoder):
            assert crop.aligned is not None
            codes = self.encoder.encode(FaceBatch(image=crop.aligned.to(self.device)))
        else:
            codes = self.encoder(crop.replace(photo=None).to(self.device))
        return codes.require_finite().require_space(self.reach.space)


def read_face(
    path: Path,
    rig: FaceDiffusion,
    encoder: Encoder,
    detector: FaceDetector | None = None,
    face_policy: Literal["largest", "center"] | int = "largest",
) -> Face:
    """One face of a photograph, as `FaceReader` reads it.

    Args:
        path: the photograph.
        rig: its size is that of the aligned picture.
        encoder: photo to codes.
        detector: finds the face.
        face_policy: which face of a photo with several.

    Raises:
        NoFaceError: when no face is found.
        ValueError: when the file is no complete picture.
        StructError: when the encoder gives codes that are not finite or not of the rig's space.
    """
    reader = FaceReader(Reach.of(rig), encoder, detector, face_policy, device=next(rig.parameters()).device)
    return reader.read(path)[0]


def bundled_face(number: int, reader: FaceReader) -> Face:
    """A synthetic face to try things out with; its codes are read off the picture, as a photograph's.

    Args:
        number: which face.
        reader: reads it; the picture is taken whole.

    Raises:
        ValueError: when the number is negative, or the rig does not paint synthetic faces.
    """
    if number < 0:
        raise ValueError(f"face: expected a number of at least 0, got {number}")
    if reader.reach.space not in (None, SyntheticHead.space):
        raise ValueError(
            f"source: a rig of codes {reader.reach.space!r} has no bundled face; give a photograph with --source"
        )
    photo = SyntheticFaces(number + 1, reader.reach.size, seed=BUNDLED_SEED)[number]["image"]
    crop = whole_crop(photo, reader.reach.size, reader.crop_size)
    codes = reader.encode(crop)
    assert crop.photo_to_aligned is not None
    path = Path(f"synthetic_{number}")
    return Face(path, photo[None].to(reader.device), codes, photo, crop.photo_to_aligned[0])


def join_codes(faces: Sequence[Face]) -> FaceCodes | None:
    """The codes of several faces of one reader as one batch; None where there are none."""
    known = [face.codes for face in faces if face.codes is not None]
    return FaceCodes.cat(known) if known else None
