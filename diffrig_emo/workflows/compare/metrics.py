"""The figures that systems are compared by."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.conditioning.landmarks import landmarks_from_codes
from diffrig_emo.metrics.functional.codes import geodesic_degrees
from diffrig_emo.metrics.functional.image import l1, psnr, ssim
from diffrig_emo.metrics.functional.perceptual import csim, lpips
from diffrig_emo.structures import FaceCodes
from diffrig_emo.transforms.identity_crop import align_to_arcface, cut_ffhq_face
from diffrig_emo.utils.skipped import Skipped
from diffrig_emo.workflows.compare.faces import Reference
from diffrig_emo.workflows.compare.systems import Reader, System

Network = Callable[[Tensor], Tensor]
_EQUAL = 100.0
"""Decibels of equal pictures, whose PSNR would be infinite: more than 8 bits can tell."""
_LEAST = {"ssim": 11, "lpips": 32}
"""Smallest sides in pixels."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """One figure of every face."""

    name: str
    """In tables of figures."""
    label: str
    """In reports."""
    task: str
    """Reconstruction or edit."""
    higher_is_better: bool
    unit: str = ""
    digits: int = 3
    about: str = ""
    """What is compared with what."""
    is_share: bool = False
    """Whether it is 0 or 1 for a face."""


_RE, _ED = "reconstruction", "edit"
METRICS: tuple[Metric, ...] = (
    Metric("reconstruction_psnr", "PSNR", _RE, True, "dB", 2, "reconstruction and photograph, all pixels"),
    Metric("reconstruction_face_psnr", "PSNR, face", _RE, True, "dB", 2, "the same inside the hull of the landmarks"),
    Metric("reconstruction_ssim", "SSIM", _RE, True, about="reconstruction and photograph"),
    Metric("reconstruction_lpips", "LPIPS", _RE, False, about="reconstruction and photograph"),
    Metric("reconstruction_csim", "CSIM", _RE, True, about="identity in reconstruction and photograph, a cosine"),
    Metric(
        "landmark_error",
        "landmarks",
        _RE,
        False,
        "%",
        2,
        "mean distance of the codes' 68 landmarks from the known ones, of the distance of the outer eye corners",
    ),
    Metric("edit_true_psnr", "PSNR, changed", _ED, True, "dB", 2, "edit and true edit, where the true edit changes"),
    Metric("edit_true_ssim", "SSIM, true edit", _ED, True, about="edit and true edit, all pixels"),
    Metric("expression_error", "expression", _ED, False, about="expression read off edit and goal, RMS of the codes"),
    Metric("jaw_error", "jaw", _ED, False, "°", 2, "jaw pose read off edit and goal"),
    Metric(
        "emotion_accuracy",
        "emotion",
        _ED,
        True,
        about="edits recognised as showing the emotion of the face that the expression comes from",
        is_share=True,
    ),
    Metric("edit_csim", "CSIM", _ED, True, about="identity in edit and photograph, a cosine"),
    Metric("beta_drift", "shape drift", _ED, False, about="beta read off edit and photograph, RMS of the codes"),
    Metric("texture_drift", "texture drift", _ED, False, about="the same of the texture code"),
    Metric("pose_drift", "pose drift", _ED, False, "°", 2, "head pose read off edit and photograph"),
    Metric("light_drift", "light drift", _ED, False, about="light read off edit and photograph, RMS of the codes"),
    Metric("edit_psnr", "PSNR to source", _ED, True, "dB", 2, "edit and unedited photograph, as papers have it"),
    Metric("edit_ssim", "SSIM to source", _ED, True, about="edit and unedited photograph"),
    Metric("edit_lpips", "LPIPS to source", _ED, False, about="edit and unedited photograph"),
    Metric(
        "background_change",
        "background",
        _ED,
        False,
        "levels",
        2,
        "mean change outside the face's surroundings, in levels of 255",
    ),
)
"""All of them, in the order of reports."""


@dataclasses.dataclass(frozen=True)
class Judges:
    """The networks that figures are read with; what could not be had says why."""

    lpips: Callable[[Tensor, Tensor], Tensor] | Skipped
    embedder: Network | Skipped
    """Face crops to embeddings."""
    recognizer: Callable[[Tensor], Tensor] | Skipped
    """Pictures to logits of AffectNet's eight emotions."""
    judge: Reader | None
    """Reads codes for all systems; None: each system's own encoder does."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a system made of one face, at the size common to all; RGB in [0, 1]."""

    reconstruction: Float[Tensor, "1 3 size size"]
    edit: Float[Tensor, "1 3 size size"]
    codes: FaceCodes
    """Of the photograph, at the system's own size."""

    def to(self, device: torch.device) -> Result:
        """The same on a device."""
        return Result(self.reconstruction.to(device), self.edit.to(device), self.codes.to(device))


def unmeasurable(judges: Judges, references: list[Reference], size: int) -> dict[str, str]:
    """Figures that nobody can measure on these faces, and why.

    Args:
        judges: the networks that are there.
        references: what is known of the faces.
        size: side in pixels at which systems are compared.
    """
    reasons: dict[str, str] = {}

    def lack(reason: str, *names: str) -> None:
        for name in names:
            reasons.setdefault(name, reason)

    if not any(r.true_edit is not None for r in references):
        lack("the true edits of photographs are not known", "edit_true_psnr", "edit_true_ssim")
    if not any(r.landmarks is not None for r in references):
        lack(
            "the landmarks are not known: put them beside the photographs, or give a detector that finds them",
            "landmark_error",
            "reconstruction_face_psnr",
            "background_change",
        )
    if size < _LEAST["ssim"]:
        lack(f"it needs pictures of {_LEAST['ssim']} pixels", "reconstruction_ssim", "edit_true_ssim", "edit_ssim")
    if size < _LEAST["lpips"]:
        lack(f"it needs pictures of {_LEAST['lpips']} pixels", "reconstruction_lpips", "edit_lpips")
    for network, names in (
        (judges.lpips, ("reconstruction_lpips", "edit_lpips")),
        (judges.embedder, ("reconstruction_csim", "edit_csim")),
        (judges.recognizer, ("emotion_accuracy",)),
    ):
        if isinstance(network, Skipped):
            lack(network.reason, *names)
    return reasons


@torch.no_grad()
def face_figures(
    result: Result, reference: Reference, system: System, reader: Reader | None, judges: Judges
) -> dict[str, float]:
    """Every figure of one face that can be measured, by the names in `METRICS`.

    Args:
        result: the system's pictures.
        reference: what they are compared with.
        system: whose pictures they are.
        reader: reads codes off pictures; None leaves those figures out.
        judges: the other networks.
    """
    photo, edit, again = reference.photo, result.edit, result.reconstruction
    figures = {
        "reconstruction_psnr": _decibels(psnr(again, photo)),
        "edit_psnr": _decibels(psnr(edit, photo)),
    }
    if reference.face is not None:
        figures["reconstruction_face_psnr"] = _decibels(psnr(again, photo, reference.face))
    if reference.may_change is not None:
        figures["background_change"] = 255 * float(l1(edit, photo, ~reference.may_change))
    if reference.true_edit is not None:
        figures["edit_true_psnr"] = _decibels(psnr(edit, reference.true_edit, reference.changed))
    if photo.shape[-1] >= _LEAST["ssim"]:
        figures["reconstruction_ssim"] = float(ssim(again, photo))
        figures["edit_ssim"] = float(ssim(edit, photo))
        if reference.true_edit is not None:
            figures["edit_true_ssim"] = float(ssim(edit, reference.true_edit))
    if reference.landmarks is not None:
        figures["landmark_error"] = _landmark_error(result.codes, reference, system)
    figures |= _network_figures(again, edit, reference, judges)
    if reader is not None:
        figures |= _read_figures(edit, reference, reader)
    return figures


def _network_figures(again: Tensor, edit: Tensor, reference: Reference, judges: Judges) -> dict[str, float]:
    figures: dict[str, float] = {}
    photo = reference.photo
    if not isinstance(judges.lpips, Skipped) and photo.shape[-1] >= _LEAST["lpips"]:
        figures["reconstruction_lpips"] = float(lpips(again, photo, judges.lpips))
        figures["edit_lpips"] = float(lpips(edit, photo, judges.lpips))
    if not isinstance(judges.embedder, Skipped):
        seen = [judges.embedder(_identity_crop(picture, reference)) for picture in (photo, again, edit)]
        figures["reconstruction_csim"] = float(csim(seen[1], seen[0]))
        figures["edit_csim"] = float(csim(seen[2], seen[0]))
    if not isinstance(judges.recognizer, Skipped):
        logits = judges.recognizer
        wanted = reference.label if reference.label >= 0 else int(logits(reference.goal).argmax(dim=1))
        figures["emotion_accuracy"] = float(int(logits(edit).argmax(dim=1)) == wanted)
    return figures


def _read_figures(edit: Tensor, reference: Reference, reader: Reader) -> dict[str, float]:
    """What an encoder reads off the edit, beside what it reads off the goal and off the source.

    The goal is the true edit where it is known, else the photograph that the expression comes from: read by the same
    eyes, so that what the encoder errs alike does not count.
    """
    side = reader.encoder.image_size
    tform = reference.place.tform(side).to(edit)
    ours, source = reader.read(edit, tform), reader.read(reference.photo, tform)
    if reference.true_edit is not None:
        goal = reader.read(reference.true_edit, tform)
    else:
        goal = reader.read(reference.goal, reference.goal_place.tform(side).to(edit))
    return {
        "expression_error": _rms(ours.exp - goal.exp),
        "jaw_error": float(geodesic_degrees(ours.jaw_pose, goal.jaw_pose)),
        "beta_drift": _rms(ours.shape - source.shape),
        "texture_drift": _rms(ours.tex - source.tex),
        "pose_drift": float(geodesic_degrees(ours.global_rotation, source.global_rotation)),
        "light_drift": _rms(ours.light - source.light),
    }


def _identity_crop(picture: Tensor, reference: Reference) -> Tensor:
    if reference.landmarks is None:
        return cut_ffhq_face(picture)
    return align_to_arcface(picture, reference.landmarks)  # the source's: an edit does not move the head


def _landmark_error(codes: FaceCodes, reference: Reference, system: System) -> float:
    """Percent of the distance of the outer eye corners."""
    crop = system.size if codes.tform is None else system.bridge.renderer.crop_size
    points = landmarks_from_codes(codes, system.bridge.face_model, crop)
    size = reference.photo.shape[-1]
    points = (points + 0.5) * (size / system.size) - 0.5
    assert reference.landmarks is not None  # the caller has looked
    known = reference.landmarks.to(points)
    width = (known[:, 36] - known[:, 45]).norm(dim=1)
    return 100 * float((points - known).norm(dim=2).mean() / width)


def _decibels(value: Tensor) -> float:
    return min(float(value), _EQUAL) if not math.isnan(float(value)) else math.nan


def _rms(difference: Tensor) -> float:
    return float(difference.square().mean().sqrt())
