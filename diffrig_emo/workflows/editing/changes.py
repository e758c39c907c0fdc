"""What an edit changes: a target's expression, an emotion, single numbers, a region only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.conditioning.expression_regions import REGIONS, Region, transfer_region
from diffrig_emo.metrics.functional.emotion import EMOTIONS
from diffrig_emo.morphable import SyntheticHead
from diffrig_emo.morphable.base import FaceModel
from diffrig_emo.morphable.synthetic_head import EMOTIONS as SYNTHETIC
from diffrig_emo.morphable.synthetic_head import emotion_preset
from diffrig_emo.perception.prototypes import ExpressionPrototypes, read_prototypes
from diffrig_emo.structures import FaceBatch, FaceCodes
from diffrig_emo.transforms.affect import MAX_STRENGTH, affect_strengths, express
from diffrig_emo.transforms.edits import interpolate, transfer_expression, transfer_light, transfer_pose
from diffrig_emo.workflows.editing.coefficients import CodeEdit, change_coefficients, nearest
from diffrig_emo.workflows.editing.faces import Face
from diffrig_emo.workflows.editing.rigs import Reach

Mode = Literal["exp", "pose", "light", "latent"]
"""What an edit takes from a target: expression with the jaw, head pose, light, or the global code."""

TRANSFERS: dict[Mode, Callable[[FaceCodes, FaceCodes], FaceCodes]] = {
    "exp": transfer_expression,
    "pose": transfer_pose,
    "light": transfer_light,
}
"""How codes are taken from a target; the global code is no part of them."""

MODES: tuple[Mode, ...] = ("exp", "pose", "light", "latent")


@dataclasses.dataclass(frozen=True)
class Wish:
    """What a rig's conditioners of expression are asked for; None leaves it as it is."""

    label: int | None = None
    strength: float = 1.0
    va: tuple[float, float] | None = None
    image: Float[Tensor, "1 3 size size"] | None = None
    """A picture whose expression is wanted, RGB in [0, 1]."""

    def join(self, batch: FaceBatch) -> FaceBatch:
        """The batch with what is wanted."""
        count, like = batch["image"].shape[0], batch["image"]
        joined = FaceBatch(**batch)
        if self.label is not None:
            joined["target_label"] = torch.full((count,), self.label, device=like.device)
            joined["target_strength"] = like.new_full((count,), self.strength)
        if self.va is not None:
            joined["target_va"] = like.new_tensor([self.va]).expand(count, 2)
        if self.image is not None:
            joined["target_image"] = self.image.to(like).expand(count, -1, -1, -1)
        return joined


@dataclasses.dataclass(frozen=True)
class Edit:
    """One edit: what becomes of a face."""

    name: str
    """For file names and messages."""
    steps: tuple[CodeEdit, ...] = ()
    """What happens to the codes, one after the other."""
    regions: tuple[Region, ...] = ()
    """Where the expression may change; empty is everywhere."""
    donor: Float[Tensor, "1 3 size size"] | None = None
    """A picture whose global code is wanted, RGB in [0, 1]."""
    wish: Wish = Wish()
    share: float = 1.0
    """How far the codes go, from the source's (0) to those that are wanted (1)."""

    def apply(self, codes: FaceCodes, face_model: FaceModel, driving: FaceCodes | None = None) -> FaceCodes:
        """The codes wanted; with `driving`, as many faces whose expression comes before all steps."""
        wanted = codes if driving is None else transfer_expression(codes, driving)
        for step in self.steps:
            wanted = step(wanted)
        if self.regions:
            part = transfer_region(codes, wanted, face_model, self.regions)
            wanted = wanted.replace(exp=part.exp, pose=torch.cat([wanted.global_rotation, part.jaw_pose], dim=1))
        return wanted if self.share == 1 else interpolate(codes, wanted, self.share)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a user asks for; see `workflows.edit`."""

    target: Path | None = None
    modes: Sequence[Mode] = ("exp",)
    targets: Mapping[Mode, Path] = dataclasses.field(default_factory=dict)
    emotion: str | None = None
    strength: float = 1.0
    valence: float | None = None
    arousal: float | None = None
    set: Sequence[str] = ()
    add: Sequence[str] = ()
    region: Sequence[str] = ()
    prototypes: Path | None = None
    driven: bool = False
    """Whether a clip gives the expression."""

    def __post_init__(self) -> None:
        if not self.modes or len(set(self.modes)) < len(self.modes) or any(m not in MODES for m in self.modes):
            raise ValueError(f"modes: expected one or more different ones of {', '.join(MODES)}, got {self.modes}")
        for mode in self.targets:
            if mode not in MODES:
                raise ValueError(f"targets: {mode!r} is none of {', '.join(MODES)}; {nearest(mode, MODES)}")
        if self.emotion is not None and self.emotion not in EMOTIONS:
            raise ValueError(f"emotion: {self.emotion!r} is unknown; {nearest(self.emotion, EMOTIONS)}")
        if not 0 <= self.strength <= MAX_STRENGTH:
            raise ValueError(
                f"strength: expected a number from 0 (neutral) to {MAX_STRENGTH} (exaggerated), got {self.strength}"
            )
        if self.strength != 1 and self.emotion is None:
            raise ValueError("strength: it belongs to an emotion; give --emotion NAME with it")
        for name, value in {"valence": self.valence, "arousal": self.arousal}.items():
            if value is not None and not -1 <= value <= 1:
                raise ValueError(f"{name}: expected a number from -1 to 1, got {value}")
        if self.emotion is not None and self.va is not None:
            raise ValueError("emotion: it and valence or arousal both name an expression; give one of them")
        if self.driven and (self.emotion is not None or self.va is not None):
            raise ValueError("driving: the clip gives the expression; leave emotion, valence and arousal out")
        for region in self.region:
            if region not in REGIONS:
                raise ValueError(f"region: {region!r} is unknown; {nearest(region, REGIONS)}")
        if not (self.target or self.targets or self.emotion or self.va or self.set or self.add or self.driven):
            raise ValueError(
                "nothing to change: give --target PHOTO, --emotion NAME, --valence and --arousal, --set, --add or "
                "--driving CLIP"
            )

    @property
    def va(self) -> tuple[float, float] | None:
        """Valence and arousal, where one is given; the other is then 0."""
        if self.valence is None and self.arousal is None:
            return None
        return self.valence or 0.0, self.arousal or 0.0


def plan(request: Request, reach: Reach, read: Callable[[Path, Mode], Face]) -> list[Edit]:
    """The edits that a request means, for a rig: one for each mode of its target, or one.

    Args:
        request: what is asked for.
        reach: what the rig listens to.
        read: photo of a target to its face, by what is taken from it.

    Raises:
        ValueError: when the rig cannot be told something of it, a name is unknown, or a target cannot be used.
        FileNotFoundError: when a target or the prototypes are missing.
    """
    if reach.bridge is None:
        unknown = {"set": request.set, "add": request.add, "region": request.region, "driving": request.driven}
        for name, asked in unknown.items():
            if asked:
                raise ValueError(f"{name}: it changes codes, but this rig knows none: it has no BufferConditioner")
    first = Edit("")
    for mode, path in request.targets.items():
        first = _from_target(first, mode, read(path, mode), reach)
    if request.target is None:
        return [_finish(first, request, reach)]
    edits = []
    for mode in request.modes:
        taken = _from_target(first, mode, read(request.target, mode), reach)
        edits.append(_finish(taken, request, reach))
    return edits


def _from_target(edit: Edit, mode: Mode, target: Face, reach: Reach) -> Edit:
    """The edit, and what one mode takes from a target besides."""
    name = _joined(edit.name, f"{target.path.stem}_{mode}")
    if mode == "latent":
        return dataclasses.replace(edit, name=name, donor=target.aligned)
    sees = mode == "exp" and reach.expression is not None and reach.expression.recognizer is not None
    wish = dataclasses.replace(edit.wish, image=target.aligned) if sees else edit.wish
    if reach.bridge is None:
        if not sees:
            raise ValueError(f"modes: {mode} is nothing that this rig can take from a target photograph")
        return dataclasses.replace(edit, name=name, wish=wish)
    codes = target.known_codes()

    def step(own: FaceCodes) -> FaceCodes:
        return TRANSFERS[mode](own, codes[[0] * own.batch_size])

    return dataclasses.replace(edit, name=name, steps=(*edit.steps, step), wish=wish)


def _finish(edit: Edit, request: Request, reach: Reach) -> Edit:
    """The edit, and everything of a request that comes after targets."""
    steps, name = [*edit.steps], edit.name
    wish = edit.wish
    if request.emotion is not None or request.va is not None:
        step, wish = _expressed(request, reach, wish)
        steps += [] if step is None else [step]
        va = request.va or (0.0, 0.0)
        name = _joined(name, f"v{va[0]:g}_a{va[1]:g}" if request.emotion is None else request.emotion)
    for option, texts in {"set": request.set, "add": request.add}.items():
        if texts:
            assert reach.bridge is not None  # refused before
            steps.append(change_coefficients(texts, option, reach.bridge, add=option == "add"))
            name = _joined(name, option)
    name = _joined(name, *request.region)
    regions = tuple(region for region in REGIONS if region in request.region)
    if regions and not steps and not request.driven:
        raise ValueError("region: nothing here changes the expression's codes, so there is nothing to keep to a region")
    if regions and (wish.label is not None or wish.va is not None or wish.image is not None):
        raise ValueError("region: this rig's conditioners of expression are asked for a whole face; leave it out")
    return dataclasses.replace(edit, name=name, steps=tuple(steps), regions=regions, wish=wish)


def _expressed(request: Request, reach: Reach, wish: Wish) -> tuple[CodeEdit | None, Wish]:
    """An emotion, or valence and arousal: for the codes, where they can show it, and for the conditioners."""
    option = "emotion" if request.emotion is not None else "valence"
    label = None if request.emotion is None else EMOTIONS.index(request.emotion)
    heard = reach.expression is not None or (label is not None and reach.label is not None)
    if heard:
        wish = dataclasses.replace(wish, label=label, strength=request.strength, va=request.va)
    prototypes = None if reach.bridge is None else _prototypes(request.prototypes, reach.bridge.face_model)
    if prototypes is None:
        if heard:
            return None, wish
        if reach.bridge is None:
            raise ValueError(f"{option}: this rig has no conditioner that could be asked for it")
        raise ValueError(
            f"{option}: nobody knows how codes of {reach.space!r} look then; give --prototypes FILE, the mean codes of "
            "labelled faces: diffrig_emo.perception.expression_prototypes(loader).write(FILE)"
        )
    return _express(request, prototypes, label), wish


def _express(request: Request, prototypes: ExpressionPrototypes, label: int | None) -> CodeEdit:
    known = torch.isfinite(prototypes.exp).all(dim=1) & torch.isfinite(prototypes.jaw_pose).all(dim=1)
    if label is not None:
        if not known[label]:
            raise ValueError(f"emotion: the prototypes know no face of {EMOTIONS[label]}; take another emotion or file")
        strengths = torch.zeros(len(EMOTIONS))
        strengths[label] = request.strength if label else 0.0
    else:
        assert request.va is not None
        places = torch.tensor([(SYNTHETIC[name].valence, SYNTHETIC[name].arousal) for name in EMOTIONS])
        strengths = torch.zeros(len(EMOTIONS))
        strengths[known] = affect_strengths(*request.va, places[known])
    exp, jaw_pose = prototypes.exp.nan_to_num(), prototypes.jaw_pose.nan_to_num()

    def step(codes: FaceCodes) -> FaceCodes:
        device = codes.exp.device
        return express(codes, strengths.to(device), exp.to(device), jaw_pose.to(device))

    return step


def _prototypes(path: Path | None, face_model: FaceModel) -> ExpressionPrototypes | None:
    """What emotions look like in a model's codes: from a file, or as the synthetic head was built to show them."""
    if path is not None:
        found = read_prototypes(path)
        if found.space != face_model.space or found.exp.shape[1] != face_model.n_exp:
            raise ValueError(
                f"{path}: expected prototypes of {face_model.n_exp} coefficients of space {face_model.space!r}, got "
                f"{found.exp.shape[1]} of {found.space!r}"
            )
        return found
    if not isinstance(face_model, SyntheticHead):
        return None
    presets = [emotion_preset(name) for name in EMOTIONS]
    return ExpressionPrototypes(
        torch.stack([preset[0] for preset in presets]), torch.stack([preset[1] for preset in presets]), face_model.space
    )


def _joined(*parts: str) -> str:
    return "_".join(part for part in parts if part)
