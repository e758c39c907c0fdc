"""Painting faces as an edit wants them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.conditioning.recenter import recenter
from diffrig_emo.modules import FaceDiffusion
from diffrig_emo.structures import FaceBatch, FaceCodes
from diffrig_emo.transforms.alignment import paste_difference
from diffrig_emo.transforms.edits import with_mean_shape
from diffrig_emo.workflows.editing.changes import TRANSFERS, Edit, Mode
from diffrig_emo.workflows.editing.faces import Face, join_codes
from diffrig_emo.workflows.editing.rigs import Reach


@dataclasses.dataclass(frozen=True, kw_only=True)
class Painting:
    """How pictures are painted; see `FaceDiffusion.edit` for each."""

    start: Literal["inverted", "noise"] = "inverted"
    temperature: float = 1.0
    release: float = 0.5
    sampler: Literal["ddim", "dpm"] = "ddim"
    eta: float = 0.0
    t0: float = 1.0
    """Share of the schedule at which an edit starts: its `strength`."""
    residual: bool = False
    blend: bool = False
    guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        shares = {"temperature": self.temperature, "release": self.release, "eta": self.eta, "t0": self.t0}
        for name, value in shares.items():
            if not 0 <= value <= 1 or (name == "t0" and value == 0):
                low = "above 0, at most 1" if name == "t0" else "from 0 to 1"
                raise ValueError(f"{name}: expected a number {low}, got {value}")
        if self.residual and self.start == "noise":
            raise ValueError("residual: noise holds no source to reconstruct; leave out --start noise, or use --blend")
        if self.eta and self.sampler == "dpm":
            raise ValueError("eta: DPM-Solver draws no noise; leave out --sampler dpm, or eta")


@dataclasses.dataclass(frozen=True)
class EditedFace:
    """The edits of one source; pictures are RGB in [0, 1]."""

    source: Face
    rendered: Float[Tensor, "n_edits 3 size size"] | None
    """Rendering of the edited codes; None for rigs that know none."""
    pictures: Float[Tensor, "n_edits 3 size size"]
    """The edited photographs, in the order of the edits."""


@torch.no_grad()
def edit_faces(
    rig: FaceDiffusion,
    faces: Sequence[Face],
    edits: Sequence[Edit],
    painting: Painting | None = None,
    mean_shape: Float[Tensor, " n_shape"] | None = None,
    indices: Sequence[int] | None = None,
    driving: FaceCodes | None = None,
    latent: Float[Tensor, "batch 3 size size"] | None = None,
) -> list[EditedFace]:
    """Edit some faces in several ways (DiffusionRig's inference), together in one batch.

    Edited faces are moved so that their centres stay where the source's was before its shape was replaced. All edits
    share the sources' inverted latents. An edit of the global code starts from noise, for the source's latent holds the
    source's background; blend and residual are not for it.

    Args:
        rig: the model, in eval mode.
        faces: the faces to edit.
        edits: what becomes of each.
        painting: how they are painted; None is `Painting()`.
        mean_shape: replaces the sources' shape code.
        indices: number of each face; with the rig's seed it fixes the noise. None counts from 0.
        driving: as many faces whose expression comes first.
        latent: the sources' inverted latents; None inverts here.

    Raises:
        ValueError: when a setting of the painting cannot be used with this rig.
        StructError: when codes are not finite or of another space.
    """
    painting = painting or Painting()
    reach = Reach.of(rig)
    own = _batch(rig, faces, mean_shape, indices)
    photo = own["image"]
    if latent is None and any(edit.donor is None for edit in edits):
        latent = inverted(rig, faces, painting, mean_shape)
    source = join_codes(faces)
    rendered: list[Tensor] = []
    pictures: list[Tensor] = []
    for edit in edits:
        wanted = None
        if reach.bridge is not None:
            assert source is not None  # whoever read the faces knew the rig
            model = reach.bridge.face_model
            codes = own["codes"].replace(translation=None)  # with the mean shape
            wanted = recenter(edit.apply(codes, model, driving), source, model)
            rendered.append(reach.bridge.render(wanted).rendered.clamp(0, 1).cpu())
        anew = edit.donor is not None
        pictures.append(
            rig.edit(
                edit.wish.join(own),
                codes=wanted,
                donor=None if edit.donor is None else edit.donor.to(photo).expand_as(photo),
                start="noise" if anew else painting.start,
                release=painting.release,
                temperature=painting.temperature,
                latent=None if anew else latent,
                guidance_scale=painting.guidance_scale,
                sampler=painting.sampler,
                eta=painting.eta,
                strength=1.0 if anew else painting.t0,
                residual=painting.residual and not anew,
                blend=painting.blend and not anew,
            ).cpu()
        )
    return [
        EditedFace(
            face,
            torch.stack([picture[i] for picture in rendered]) if rendered else None,
            torch.stack([picture[i] for picture in pictures]),
        )
        for i, face in enumerate(faces)
    ]


@torch.no_grad()
def inverted(
    rig: FaceDiffusion,
    faces: Sequence[Face],
    painting: Painting,
    mean_shape: Float[Tensor, " n_shape"] | None = None,
) -> Float[Tensor, "batch 3 size size"] | None:
    """The latents of some faces that a painting starts from; None where it starts from noise."""
    if painting.start == "noise":
        return None
    own = _batch(rig, faces, mean_shape)
    return rig.invert(own["image"], rig.condition(own), strength=painting.t0)


def _batch(
    rig: FaceDiffusion,
    faces: Sequence[Face],
    mean_shape: Float[Tensor, " n_shape"] | None = None,
    indices: Sequence[int] | None = None,
) -> FaceBatch:
    """The faces as they are: pictures, numbers, no known label, and their codes in their place."""
    device = next(rig.parameters()).device
    numbers = range(len(faces)) if indices is None else indices
    batch = FaceBatch(
        image=torch.cat([face.aligned for face in faces]).to(device),
        index=torch.tensor(list(numbers), device=device),
        label=torch.full((len(faces),), -1, device=device),
    )
    bridge = Reach.of(rig).bridge
    if bridge is not None:
        source = FaceCodes.cat([face.known_codes() for face in faces])
        codes = source if mean_shape is None else with_mean_shape(source, mean_shape.to(source.shape))
        batch["codes"] = recenter(codes, source, bridge.face_model)
    return batch


@torch.no_grad()
def edit_face(
    rig: FaceDiffusion,
    source: Face,
    target: Face,
    modes: Sequence[Mode],
    start: Literal["inverted", "noise"] = "inverted",
    temperature: float = 1.0,
    mean_shape: Float[Tensor, " n_shape"] | None = None,
    index: int = 0,
) -> EditedFace:
    """Edit one face by what another gives, once for each mode.

    Args:
        rig: the model, in eval mode.
        source: the face to edit.
        target: the face that gives.
        modes: what to take from it, one edit each.
        start: where painting starts; mode "latent" always starts from noise.
        temperature: factor of the noise, 0 to 1.
        mean_shape: replaces the source's shape code.
        index: number of the source; with the rig's seed it fixes the noise.
    """

    def taken(mode: Mode) -> Edit:
        if mode == "latent":
            return Edit(mode, donor=target.aligned)
        return Edit(mode, steps=(lambda codes: TRANSFERS[mode](codes, target.known_codes()),))

    painting = Painting(start=start, temperature=temperature)
    return edit_faces(rig, [source], [taken(mode) for mode in modes], painting, mean_shape, [index])[0]


def paste_faces(
    faces: Sequence[Face], pictures: Sequence[Float[Tensor, "3 size size"]]
) -> Float[Tensor, "3 height width"]:
    """Put the edited faces of one photograph back into it, at its full size.

    Args:
        faces: faces of one photo, with `photo` and `photo_to_aligned`.
        pictures: the edited picture of each.

    Raises:
        ValueError: when a face does not know its photo.
    """
    photo = faces[0].photo
    for face, picture in zip(faces, pictures, strict=True):
        if photo is None or face.photo_to_aligned is None:
            raise ValueError(f"{face.path}: expected a face with its photo and its place in it, got one without")
        photo = paste_difference(picture, face.aligned[0].cpu(), face.photo_to_aligned, photo)
    assert photo is not None
    return photo
