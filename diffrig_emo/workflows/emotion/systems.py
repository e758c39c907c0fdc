"""What gives a face another emotion: the latent model, its finetuned ones, and a rig of physical buffers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from diffrig_emo.conditioning.reencode import reencode
from diffrig_emo.datasets.inverted_faces import ALL
from diffrig_emo.diffusion import load_adapter, merge_adapter
from diffrig_emo.io.checkpoints import load_part
from diffrig_emo.modules import EmotionEditor, FaceDiffusion
from diffrig_emo.morphable import MorphableEncoder
from diffrig_emo.perception.text_image import FACE_WORDS
from diffrig_emo.structures import FaceBatch, FaceCodes


class EmotionSystem(Protocol):
    """Anything that edits emotions by label; the study asks no more of it."""

    def edit(self, batch: FaceBatch, target: int) -> Tensor:
        """Pictures (B, 3, H, W), RGB in [0, 1], of the batch's faces with an emotion, 0..7."""


class LatentSystem:
    """A latent emotion model.

    Args:
        editor: the model, and how it edits.
    """

    def __init__(self, editor: EmotionEditor) -> None:
        self.editor = editor
        self._latents = KnownLatents(editor)

    def edit(self, batch: FaceBatch, target: int) -> Tensor:
        """Invert with the own label, paint with the other."""
        return self.editor.regenerate(self._latents.of(batch), batch, torch.full_like(batch["label"], target))


class KnownLatents:
    """Inverted latents, found once for each face, whatever it is edited to.

    Args:
        editor: inverts.
    """

    def __init__(self, editor: EmotionEditor) -> None:
        self.editor = editor
        self._known: dict[int, Tensor] = {}

    def of(self, batch: FaceBatch) -> Tensor:
        """Latents of the faces of a batch, who are told apart by `index`."""
        numbers = batch["index"].tolist()
        new = [place for place, number in enumerate(numbers) if number not in self._known]
        if new:
            part = FaceBatch(image=batch["image"][new], label=batch["label"][new], index=batch["index"][new])
            self._known |= dict(zip([numbers[place] for place in new], self.editor.invert(part), strict=True))
        return torch.stack([self._known[number] for number in numbers])


class FinetunedSystem:
    """A model of its own for every emotion; those that have none are edited by the one for all, or the latent model.

    Args:
        base: the latent model, which also finds the latents, without guidance as in finetuning.
        folder: a folder with a folder of each emotion ("happy", "sad", ..., "angry"), or of "all", which holds a
            checkpoint of `EmotionFinetuning` or an `adapter.safetensors`.
        guidance_scale: of the way down.
        steps: of the way down; up are as many as the latent model's.

    Raises:
        FileNotFoundError: when no emotion has a model.
    """

    def __init__(self, base: EmotionEditor, folder: str | Path, guidance_scale: float, steps: int = 40) -> None:
        self.base = base
        strength = base.timesteps[-1] / base.rig.schedule.num_steps
        finder = EmotionEditor(base.rig, base.recognizer, len(base.timesteps), strength, 1.0)
        self._latents = KnownLatents(finder)
        self._settings = (steps, strength, guidance_scale)
        self._paths: dict[int, Path] = {}
        self._last: tuple[Path, EmotionEditor] | None = None  # one model at a time is in memory
        common = _newest(Path(folder) / ALL)
        for label, word in enumerate(FACE_WORDS):
            path = _newest(Path(folder) / word) or common
            if path is not None:
                self._paths[label] = path
        if not self._paths:
            raise FileNotFoundError(
                f"finetuned: expected folders such as {Path(folder) / 'happy'} with a checkpoint of EmotionFinetuning, "
                "found none"
            )

    @property
    def targets(self) -> list[int]:
        """Emotions that have a model."""
        return list(self._paths)

    def edit(self, batch: FaceBatch, target: int) -> Tensor:
        """Invert by the latent model, paint by the emotion's own."""
        if target not in self._paths:
            return self.base.edit(batch, torch.full_like(batch["label"], target))
        path = self._paths[target]
        if self._last is None or self._last[0] != path:
            self._last = path, self._load(path)
        return self._last[1].regenerate(self._latents.of(batch), batch, torch.full_like(batch["label"], target))

    def _load(self, path: Path) -> EmotionEditor:
        rig = copy.deepcopy(self.base.rig)
        if path.suffix == ".safetensors":
            load_adapter(path, rig.denoiser)
            merge_adapter(rig.denoiser)
        else:
            load_part(rig.denoiser, path, "denoiser", "finetuned")
        return EmotionEditor(rig, self.base.recognizer, *self._settings)


def _newest(folder: Path) -> Path | None:
    """The model of a folder that was written last."""
    files = [*folder.rglob("adapter.safetensors"), *folder.rglob("*.ckpt")]
    return max(files, key=lambda path: path.stat().st_mtime) if files else None


class BufferSystem:
    """The two-stage way: codes are read, the expression is moved, a rig paints by physical buffers.

    A label's expression is the mean of the codes of labelled faces; a face moves by the difference of the means of the
    label wanted and its own, so that what is its own in the expression stays.

    Args:
        rig: paints by buffers.
        encoder: reads codes off whole pictures.
        faces: labelled faces, in [0, 1], that the means are of.

    Raises:
        StructError: when an encoder's codes are of another space than the rig's.
    """

    def __init__(self, rig: FaceDiffusion, encoder: MorphableEncoder, faces: FaceBatch) -> None:
        self.rig = rig
        self.encoder = encoder
        with torch.no_grad():
            codes = reencode(encoder, faces["image"])
        both = torch.cat([codes.exp, codes.pose[:, 3:]], dim=1)
        self.means = torch.stack([_mean(both[faces["label"] == n], both) for n in range(len(FACE_WORDS))])

    def move(self, codes: FaceCodes, label: Tensor, target: int) -> FaceCodes:
        """Codes with the expression of another label; expression and jaw move."""
        change = self.means[target] - self.means[label]
        n_exp = codes.exp.shape[1]
        pose = torch.cat([codes.pose[:, :3], codes.pose[:, 3:] + change[:, n_exp:]], dim=1)
        return codes.replace(exp=codes.exp + change[:, :n_exp], pose=pose)

    def edit(self, batch: FaceBatch, target: int) -> Tensor:
        """Read, move, paint."""
        with torch.no_grad():
            codes = reencode(self.encoder, batch["image"])
        faces = FaceBatch(image=batch["image"], index=batch["index"], codes=codes)
        return self.rig.edit(faces, codes=self.move(codes, batch["label"], target))


def _mean(rows: Tensor, of: Tensor) -> Tensor:
    """Mean of a label's codes; that of all where it has no face."""
    return rows.mean(dim=0) if len(rows) else of.mean(dim=0)
