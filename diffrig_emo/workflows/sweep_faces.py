"""What the sweep measures: one edit of held-out faces, its truth known, under any settings of `FaceDiffusion.edit`."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.conditioning import BufferConditioner
from diffrig_emo.diffusion import Sampler
from diffrig_emo.metrics.functional.codes import code_errors
from diffrig_emo.metrics.functional.drift import beta_drift
from diffrig_emo.metrics.functional.image import changed_mask, psnr
from diffrig_emo.modules import FaceDiffusion, FaceEncoder
from diffrig_emo.morphable import SyntheticHead
from diffrig_emo.structures import FaceBatch, FaceCodes, face_collate
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.transforms.edits import transfer_expression, transfer_light, transfer_pose

SweptEdit = Literal["expression", "pose", "light"]
"""What each face takes from the next one."""

_TRANSFERS: dict[SweptEdit, Callable[[FaceCodes, FaceCodes], FaceCodes]] = {
    "expression": transfer_expression,
    "pose": transfer_pose,
    "light": transfer_light,
}


@dataclasses.dataclass(frozen=True)
class Point:
    """Settings of one point of the sweep: `FaceDiffusion.edit`'s, and the number of steps."""

    sampler: Sampler
    start: Literal["inverted", "noise"]
    strength: float
    eta: float
    guidance_scale: float
    residual: bool
    blend: bool
    steps: int

    def check(self) -> None:
        """Refuse numbers that are out of range.

        Raises:
            ValueError: naming the setting.
        """
        if self.steps < 2:
            raise ValueError(f"steps: expected at least 2, got {self.steps}")
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength: expected a number above 0 to 1, got {self.strength}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta: expected a number from 0 to 1, got {self.eta}")

    @property
    def misfit(self) -> str | None:
        """Why no edit can be made so; None where one can."""
        if self.sampler == "dpm" and self.eta > 0:
            return "DPM-Solver++ draws no noise, so eta must be 0"
        if self.start == "noise" and self.residual:
            return "noise holds no source whose residual could be added"
        return None


class SweepFaces:
    """Held-out synthetic faces, each to take something from the next one, and the true edits.

    Args:
        faces: people that the rig has not learned.
        rig: model under test, in eval mode; `measure` changes its `timesteps`.
        edit: what is taken.
        encoder: reads codes off pictures; None leaves out what needs one.
        batch_size: faces edited at once.

    Raises:
        ValueError: when a face has no next one, or the rig does not fit the faces.
    """

    def __init__(
        self,
        faces: SyntheticFaces,
        rig: FaceDiffusion,
        edit: SweptEdit = "expression",
        encoder: FaceEncoder | None = None,
        batch_size: int = 8,
    ) -> None:
        if len(faces) < 2:
            raise ValueError(f"faces: expected at least 2, so that each has another to take from; got {len(faces)}")
        self.rig = rig
        self._bridge = rig_bridge(rig)
        device = rig.device
        numbers = range(len(faces))
        batch: FaceBatch = face_collate([faces[i] for i in numbers])
        target = _TRANSFERS[edit](batch["codes"], batch["codes"][torch.arange(len(faces)).roll(-1)])
        self.image = batch["image"].to(device)
        self.codes, self.target = batch["codes"].to(device), target.to(device)
        self.index = batch["index"].to(device)
        self.batch_size = batch_size
        self.truth = faces.photograph(numbers, codes=target, clean=True).to(device)
        """The true edits before camera noise: what pictures are compared with."""
        self.changed = changed_mask(faces.photograph(numbers, clean=True).to(device), self.truth)
        """Pixels that the true edit changes."""
        self._noisy_truth = faces.photograph(numbers, codes=target).to(device)
        self._encoder = encoder
        self._source_beta = None if encoder is None else self._read(encoder, self.image).shape

    def __len__(self) -> int:
        return len(self.image)

    @torch.no_grad()
    def references(self) -> dict[str, dict[str, float]]:
        """Figures of pictures that need no rig.

        Returns:
            `source`, unedited; `render_delta`, the photo plus the change of its rendering; `true_edit`, the true edit
            as a camera takes it, which is what an encoder reads at best.
        """
        before, after = (self._bridge.render(codes).rendered for codes in (self.codes, self.target))
        pictures = {
            "source": self.image,
            "render_delta": (self.image + after - before).clamp(0, 1),
            "true_edit": self._noisy_truth,
        }
        return {name: self.figures(picture) for name, picture in pictures.items()}

    def warm_up(self) -> None:
        """Let pass what only first calls cost."""
        self._edit(slice(0, self.batch_size), {})

    def measure(self, point: Point) -> dict[str, float]:
        """Edit every face, and measure the edits and the time.

        Args:
            point: settings.

        Returns:
            `figures`, and `seconds` per face, inversion included.
        """
        self.rig.set_steps(point.steps)
        settings = {f.name: getattr(point, f.name) for f in dataclasses.fields(point) if f.name != "steps"}
        edits, seconds = [], 0.0
        for first in range(0, len(self), self.batch_size):
            started = _now(self.image.device)
            edits.append(self._edit(slice(first, first + self.batch_size), settings))
            seconds += _now(self.image.device) - started
        return {**self.figures(torch.cat(edits)), "seconds": seconds / len(self)}

    @torch.no_grad()
    def figures(self, edit: Float[Tensor, "faces 3 height width"]) -> dict[str, float]:
        """How close edits come to the true ones.

        Args:
            edit: RGB in [0, 1], one per face.

        Returns:
            PSNR in dB, means over the faces, of the `psnr` whole picture, `psnr_changed` and `psnr_unchanged` pixels;
            with an encoder, `expression_error` between the codes that it reads and those wanted, and `beta_drift`
            between those that it reads off edit and source, root mean squares.
        """
        masks = {"psnr": None, "psnr_changed": self.changed, "psnr_unchanged": ~self.changed}
        figures = {name: float(psnr(edit, self.truth, mask).nanmean()) for name, mask in masks.items()}
        if self._encoder is not None and self._source_beta is not None:
            read = self._read(self._encoder, edit)
            figures["expression_error"] = float(code_errors(read, self.target)["exp"])
            figures["beta_drift"] = float(beta_drift(read.shape, self._source_beta)["drift"])
        return figures

    def _edit(self, part: slice, settings: dict[str, Any]) -> Tensor:
        batch = FaceBatch(image=self.image[part], codes=self.codes[part], index=self.index[part])
        return self.rig.edit(batch, codes=self.target[part], **settings)

    @torch.no_grad()
    def _read(self, encoder: FaceEncoder, image: Tensor) -> FaceCodes:
        parts = [encoder.encode(FaceBatch(image=part)) for part in image.split(self.batch_size)]
        return FaceCodes.cat(parts)


def rig_bridge(rig: FaceDiffusion) -> BufferConditioner:
    """The conditioner of a rig that renders the codes of synthetic faces.

    Raises:
        ValueError: when it has none, or codes of another space or pictures that are not square.
    """
    bridge = next((c for c in rig.conditioners if isinstance(c, BufferConditioner)), None)
    if bridge is None:
        raise ValueError("rig: expected a rig conditioned on physical buffers, got one without a BufferConditioner")
    if bridge.face_model.space != SyntheticHead.space:
        raise ValueError(
            f"rig: true edits are known of synthetic faces alone, whose codes are of space {SyntheticHead.space!r}; "
            f"this rig wants {bridge.face_model.space!r}"
        )
    if bridge.renderer.size[0] != bridge.renderer.size[1]:
        raise ValueError(f"rig: expected square pictures, got a rig of {bridge.renderer.size} pixels")
    return bridge


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
