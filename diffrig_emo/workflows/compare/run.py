"""One system on all faces: codes first, then pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.conditioning.recenter import recenter
from diffrig_emo.modules import EmotionEditor
from diffrig_emo.structures import FaceBatch, FaceCodes
from diffrig_emo.transforms.edits import transfer_expression
from diffrig_emo.transforms.resizing import resize_picture
from diffrig_emo.utils.memory import added_memory
from diffrig_emo.workflows.compare.faces import ComparedFace
from diffrig_emo.workflows.compare.metrics import Result
from diffrig_emo.workflows.compare.stopwatch import Stopwatch
from diffrig_emo.workflows.compare.systems import Reader, System

Start = Literal["inverted", "noise"]
"""Where painting starts: at the source's inverted latent, or at each face's own noise."""


@dataclasses.dataclass(frozen=True)
class EncodedFace:
    """One face as a system reads it."""

    aligned: Float[Tensor, "1 3 size size"]
    """RGB in [0, 1]."""
    codes: FaceCodes
    goal_codes: FaceCodes
    """Codes from which the expression is taken when this face gives it."""
    label: int
    """Its emotion, AffectNet 0..7; -1 where no system edits by label."""
    seconds: dict[str, float]


@torch.no_grad()
def encode_face(
    face: ComparedFace, system: System, truth: FaceCodes | None, label: int, device: torch.device
) -> EncodedFace:
    """Cut a face out and read its codes.

    Args:
        face: the photograph.
        system: whose encoders read.
        truth: true codes, for a system that takes them.
        label: emotion, for a system that edits by label.
        device: where its networks are.

    Raises:
        ValueError: when the photograph cannot be read any more, or the codes are not finite or show no face.
    """
    watch = Stopwatch()
    if face.detect_seconds is not None:
        watch.seconds["detect"] = face.detect_seconds
    with watch("crop"):
        crop = face.crop(system.size, _crop_size(system.encoder))
        assert crop.aligned is not None  # crop_faces always takes it
        aligned = crop.aligned.to(device)
    with watch("encode"):
        codes = _read(system.encoder, aligned, crop.tform, truth)
    goal = codes
    if system.target_encoder is not system.encoder:
        reader = system.target_encoder
        tform = face.crop(system.size, _crop_size(reader)).tform
        goal = _read(reader, aligned, tform, truth)
    for read in (codes, goal):
        read.require_finite().require_space(system.bridge.face_model.space)
    system.bridge.render(codes)  # a face out of view is found here, before anybody paints
    return EncodedFace(aligned.cpu(), codes.to("cpu"), goal.to("cpu"), label, watch.seconds)


def paint_faces(
    faces: Sequence[EncodedFace], system: System, start: Start, device: torch.device, size: int
) -> Iterator[tuple[Result, dict[str, float]]]:
    """Reconstruct every face, and give it the expression of the next one, the last that of the first.

    A system that edits by label gives it the next one's emotion.

    Args:
        faces: as the system reads them.
        system: paints; its networks are on `device`.
        start: where rigs start.
        device: where to compute.
        size: side in pixels of the results, at which systems are compared.

    Yields:
        The pictures of each face, on the CPU, and the seconds of each stage of its edit.
    """
    for number, face in enumerate(faces):
        watch = Stopwatch()
        watch.seconds |= face.seconds
        goal = faces[(number + 1) % len(faces)]
        reconstruction, edit = _paint(face, goal, number, system, start, device, watch)
        yield Result(_resized(reconstruction, size), _resized(edit, size), face.codes), watch.seconds


def memory_of_edit(faces: Sequence[EncodedFace], system: System, start: Start, device: torch.device) -> int:
    """Most bytes that tensors held at once while a face was edited, above what stood before; weights not included.

    Args:
        faces: at least two; the first takes the expression of the second.
        system: paints; it has painted before.
        start: where rigs start.
        device: where to compute.
    """
    return added_memory(lambda: _paint(faces[0], faces[1], 0, system, start, device, Stopwatch(), reconstruct=False))


@torch.no_grad()
def _paint(
    face: EncodedFace,
    goal: EncodedFace,
    number: int,
    system: System,
    start: Start,
    device: torch.device,
    watch: Stopwatch,
    reconstruct: bool = True,
) -> tuple[Tensor, Tensor]:
    """Reconstruction, which is not timed, and edit; RGB in [0, 1]."""
    if system.editor is not None:
        return _paint_label(face, goal.label, system.editor, device, watch, reconstruct)
    photo, codes = face.aligned.to(device), face.codes.to(device)
    bridge, rig = system.bridge, system.rig
    wanted = recenter(transfer_expression(codes, goal.goal_codes.to(device)), codes, bridge.face_model)
    if rig is None:
        with watch("render"):
            before, after = bridge.render(codes), bridge.render(wanted)
        edit = (photo + after.rendered - before.rendered).clamp(0, 1)
        return torch.where(before.mask > 0, before.rendered, photo).clamp(0, 1), edit
    own = FaceBatch(image=photo, codes=codes, index=torch.tensor([number], device=device))
    latent: Tensor | None = None
    with watch.watching(bridge, "render"):
        if start == "inverted":
            with watch("invert"):
                latent = rig.invert(photo, rig.condition(own))
        with watch("sample"):
            edit = rig.edit(own, codes=wanted, start=start, latent=latent)
    again = rig.edit(own, start=start, latent=latent) if reconstruct else edit
    return again, edit


def _paint_label(
    face: EncodedFace, goal: int, editor: EmotionEditor, device: torch.device, watch: Stopwatch, reconstruct: bool
) -> tuple[Tensor, Tensor]:
    own = FaceBatch(image=face.aligned.to(device), label=torch.tensor([face.label], device=device))
    with watch("invert"):
        latent = editor.invert(own)
    with watch("sample"):
        edit = editor.regenerate(latent, own, torch.tensor([goal], device=device))
    return editor.regenerate(latent, own, own["label"]) if reconstruct else edit, edit


def _read(reader: Reader | None, aligned: Tensor, tform: Tensor | None, truth: FaceCodes | None) -> FaceCodes:
    if reader is None:
        assert truth is not None  # systems that need it are refused where there is none
        return truth.to(aligned.device)
    return reader.read(aligned, None if tform is None else tform.to(aligned))


def _crop_size(reader: Reader | None) -> int:
    return 224 if reader is None else reader.encoder.image_size


def _resized(picture: Tensor, size: int) -> Tensor:
    return resize_picture(picture[0].cpu(), (size, size)).clamp(0, 1)[None]
