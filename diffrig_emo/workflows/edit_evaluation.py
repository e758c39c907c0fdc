"""Judge a rig's edits of synthetic faces against the true edited photographs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

from diffrig_emo.conditioning.buffers import BufferConditioner
from diffrig_emo.metrics.functional.image import edit_regions, psnr, ssim
from diffrig_emo.modules.diffusion import FaceDiffusion
from diffrig_emo.structures import FaceBatch, FaceCodes, PhysicalBuffers, face_collate
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.transforms.edits import transfer_expression, transfer_light, transfer_pose

CodeEdit = Callable[[FaceCodes, FaceCodes], FaceCodes]


def keep_codes(source: FaceCodes, donor: FaceCodes) -> FaceCodes:
    """The edit that changes no code: what is left is the donor's global code."""
    return source


EDITS: dict[str, CodeEdit] = {
    "expression": transfer_expression,
    "pose": transfer_pose,
    "light": transfer_light,
    "global": keep_codes,
}
"""The four edits of DiffusionRig, each taking one thing from a donor face."""

GLOBAL_TEMPERATURE = 0.6
"""Temperature of edits that start from noise: a rig of ten minutes leaves grain at 1 (1.0 dB lower over the face)."""


@dataclasses.dataclass(frozen=True)
class Edited:
    """One kind of edit of a batch of faces, beside what it should have been; pictures are RGB in [0, 1]."""

    name: str
    source: Tensor
    donor: Tensor
    buffers: PhysicalBuffers
    edit: Tensor
    true_edit: Tensor
    regions: dict[str, Tensor]


class EditJudge:
    """A fixed set of held-out faces, each with a donor, on which rigs are compared.

    Face i takes from face i + 1, so that every face is once a source and once a donor.

    Args:
        faces: synthetic faces that no training has seen.
        bridge: renders codes; the same kind of bridge that conditions the rig.
    """

    def __init__(self, faces: SyntheticFaces, bridge: BufferConditioner) -> None:
        if len(faces) < 2:
            raise ValueError(f"EditJudge: expected at least 2 faces, so that each has a donor; got {len(faces)}")
        self.faces = faces
        self.bridge = bridge
        self.batch: FaceBatch = face_collate([faces[i] for i in range(len(faces))])
        self.donors = torch.arange(len(faces)).roll(-1)

    @torch.no_grad()
    def run(self, rig: FaceDiffusion, name: str, codes: FaceCodes | None = None) -> Edited:
        """Edit every face.

        Args:
            rig: the model to judge.
            name: one of `EDITS`.
            codes: codes that the rig is given for the faces; None gives it the true ones.
        """
        batch = self._with(codes)
        target = self._target(batch["codes"], name)
        donor = batch["image"][self.donors]
        # A donor's background cannot come out of the source's inverted latent, which holds the source's.
        if name == "global":
            edit = rig.edit(batch, donor=donor, start="noise", temperature=GLOBAL_TEMPERATURE)
        else:
            edit = rig.edit(batch, codes=target)
        truth = self._truth(name)
        source_mask = self.bridge.render(self.batch["codes"]).mask
        target_mask = self.bridge.render(self._target(self.batch["codes"], name)).mask
        clean = self.faces.photograph(range(len(self.faces)), clean=True)
        regions = edit_regions(clean, truth, torch.maximum(source_mask, target_mask))
        return Edited(name, batch["image"], donor, self.bridge.render(target), edit, truth, regions)

    @torch.no_grad()
    def baselines(self, rig: FaceDiffusion, edited: Edited, codes: FaceCodes | None = None) -> dict[str, Tensor]:
        """Pictures that the edit must beat, and negative controls that must fail.

        Returns:
            `source`: the unedited photo; `render_paste`: the target's rendering pasted over it;
            `render_delta`: the photo plus the change of the rendering, without any learning;
            `random_noise`: the rig started from noise; `shuffled_buffers`: the rig given another face's buffers.
        """
        batch = self._with(codes)
        target = self._target(batch["codes"], edited.name)
        before = self.bridge.render(batch["codes"])
        after = edited.buffers
        source = edited.source
        strangers = target[torch.arange(target.batch_size).roll(target.batch_size // 2)]
        return {
            "source": source,
            "render_paste": torch.where(after.mask > 0, after.rendered, source).clamp(0, 1),
            "render_delta": (source + after.rendered - before.rendered).clamp(0, 1),
            "random_noise": rig.edit(batch, codes=target, start="noise"),
            "shuffled_buffers": rig.edit(batch, codes=strangers),
        }

    def _with(self, codes: FaceCodes | None) -> FaceBatch:
        return self.batch if codes is None else FaceBatch(**{**self.batch, "codes": codes})

    def _target(self, codes: FaceCodes, name: str) -> FaceCodes:
        return EDITS[name](codes, codes[self.donors])

    def _truth(self, name: str) -> Tensor:
        numbers = range(len(self.faces))
        if name == "global":
            return self.faces.photograph(numbers, donor_indices=self.donors.tolist(), clean=True)
        return self.faces.photograph(numbers, codes=self._target(self.batch["codes"], name), clean=True)


def edit_scores(edited: Edited, baselines: dict[str, Tensor]) -> dict[str, float]:
    """Mean PSNR (dB) over the faces, of the edit and of its baselines, against the true edited photo.

    Regions: `changed` is what the true edit changes by more than 8/255 in a channel, `face` the union of
    source and target coverage, `rest` what is neither.
    """

    def score(picture: Tensor, region: str) -> float:
        return float(psnr(picture, edited.true_edit, edited.regions[region]).nanmean())

    scores = {
        "psnr_changed_edit": score(edited.edit, "changed"),
        "psnr_face": score(edited.edit, "face"),
        "psnr_rest": score(edited.edit, "rest"),
        "ssim": float(ssim(edited.edit, edited.true_edit).mean()),
    }
    for name, picture in baselines.items():
        scores[f"psnr_changed_{name}"] = score(picture, "changed")
        scores[f"psnr_face_{name}"] = score(picture, "face")
    return scores
