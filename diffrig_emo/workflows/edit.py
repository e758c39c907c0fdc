"""`diffrig-emo edit`: photographs of one face with the expression, pose or light of another."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torchvision.utils import make_grid

from diffrig_emo.conditioning import BufferConditioner
from diffrig_emo.conditioning.recenter import recenter
from diffrig_emo.datasets.detectors import CascadeDetector, FaceDetector
from diffrig_emo.datasets.photos import align_window, crop_photo, list_photos
from diffrig_emo.diffusion import strided_timesteps
from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.io.mean_shape import read_mean_shape
from diffrig_emo.modules import FaceDiffusion, FaceEncoder
from diffrig_emo.morphable import DECA, MorphableEncoder
from diffrig_emo.structures import FaceBatch, FaceCodes
from diffrig_emo.transforms.edits import transfer_expression, transfer_light, transfer_pose, with_mean_shape
from diffrig_emo.utils.devices import choose_device
from diffrig_emo.workflows.load import load_encoder, load_rig

Mode = Literal["exp", "pose", "light", "latent"]
"""What an edit takes from the target: expression with the jaw, head pose, light, or the global code."""

TRANSFERS: dict[Mode, Callable[[FaceCodes, FaceCodes], FaceCodes]] = {
    "exp": transfer_expression,
    "pose": transfer_pose,
    "light": transfer_light,
    "latent": lambda source, target: source,
}


@dataclasses.dataclass(frozen=True)
class Face:
    """One photograph, as the rig takes it."""

    path: Path
    aligned: Float[Tensor, "1 3 size size"]
    """What the rig sees, RGB in [0, 1]."""
    codes: FaceCodes


@dataclasses.dataclass(frozen=True)
class EditedFace:
    """The edits of one source; pictures are RGB in [0, 1]."""

    source: Face
    rendered: Float[Tensor, "n_modes 3 size size"]
    """Rendering of the edited codes."""
    pictures: Float[Tensor, "n_modes 3 size size"]
    """The edited photographs, in the order of the modes."""


def edit(
    source: Path,
    target: Path,
    rig: Path | None = None,
    output: Path = Path("edits"),
    modes: list[Mode] = ["exp"],  # noqa: B006
    source_encoder: MorphableEncoder | Path | None = None,
    target_encoder: MorphableEncoder | Path | None = None,
    detector: FaceDetector | None = None,
    face_policy: Literal["largest", "center"] | int = "largest",
    start: Literal["inverted", "noise"] = "inverted",
    temperature: float = 1.0,
    steps: int = 20,
    mean_shape: Path | None = None,
    adapter: Path | None = None,
    seed: int = 0,
) -> None:
    """Edit photographs: give each source the expression, pose, light or look of a target.

    Writes `SOURCE_TARGET_MODE.png` per edit, `grid.png` with everything side by side, `edit.json` with the settings,
    and `skipped.csv` with the photographs that could not be used.

    Args:
        source: the photograph to edit, or a folder of them.
        target: the photograph that gives.
        rig: DiffusionRig's model file, or a run of ours (`demo_output/rig`). None looks for DiffusionRig's among the
            assets.
        output: folder for the results.
        modes: what to take from the target, one edit each: exp, pose, light, latent.
        source_encoder: reads the source's codes: a class such as DECA or EMOCA (both find their files among the
            assets; or `--source_encoder.path FILE`), or a run of ours (`demo_output/encoder`). None is DECA.
        target_encoder: reads the target's codes, of the same code space. None is the source's encoder.
        detector: finds faces; None is `CascadeDetector`. Landmarks beside a photo (`.txt`, `.mat`) come first.
        face_policy: which face of a photo with several: largest, center, or its number from the left.
        start: "inverted" keeps what the codes do not describe; "noise" paints anew, as DiffusionRig does. Mode latent
            always starts from noise, for the source's latent holds the source's background.
        temperature: factor of the noise, 0 to 1, where painting starts from noise; lower is smoother.
        steps: DDIM steps.
        mean_shape: a person's `mean_shape.pkl`, which replaces the sources' shape codes (DiffusionRig's stage two).
        adapter: a person's low-rank adapter for this rig (`adapter.safetensors`).
        seed: with the source's number, fixes the noise.

    Raises:
        FileNotFoundError: when a photograph or a model is missing.
        ValueError: when a photograph, a model or a setting cannot be used, before any editing starts.
    """
    console = Console()
    if not modes or len(set(modes)) < len(modes):
        raise ValueError(f"modes: expected one or more different ones of {', '.join(TRANSFERS)}, got {modes}")
    sources = list_photos(source)
    shape = None if mean_shape is None else read_mean_shape(mean_shape)
    device = choose_device()
    model = load_rig(rig, adapter).to(device)
    model.timesteps = strided_timesteps(steps, model.schedule.num_steps)
    model.seed = seed
    read_source = _encoder(source_encoder).to(device)
    read_target = read_source if target_encoder is None else _encoder(target_encoder).to(device)
    find = CascadeDetector() if detector is None else detector

    goal = read_face(target, model, read_target, find, face_policy)
    edited: list[EditedFace] = []
    skipped: dict[Path, str] = {}
    names = _names(sources)
    for number, path in enumerate(track(sources, "Editing", console=console, disable=len(sources) == 1)):
        try:
            face = read_face(path, model, read_source, find, face_policy)
        except ValueError as error:
            skipped[path] = str(error)
            continue
        faces = edit_face(
            model, face, goal, modes, start=start, temperature=temperature, mean_shape=shape, index=number
        )
        for mode, picture in zip(modes, faces.pictures, strict=True):
            write_image(output / f"{names[number]}_{target.stem}_{mode}.png", picture)
        edited.append(faces)
    settings = {
        "source": str(source),
        "target": str(target),
        "rig": str(rig) if rig is not None else "asset diffusionrig",
        "source_encoder": _describe(source_encoder),
        "target_encoder": _describe(source_encoder if target_encoder is None else target_encoder),
        "modes": modes,
        "start": start,
        "temperature": temperature,
        "steps": steps,
        "mean_shape": None if mean_shape is None else str(mean_shape),
        "adapter": None if adapter is None else str(adapter),
        "seed": seed,
    }
    _write_summary(output, edited, goal, settings, skipped)
    for path, reason in skipped.items():
        console.print(f"skipped {path}: {reason}", markup=False, soft_wrap=True)
    if not edited:
        raise ValueError(f"none of the {len(sources)} source photographs could be used; see {output / 'skipped.csv'}")
    console.print(f"{len(edited) * len(modes)} edits of {len(edited)} photographs: {output}")


@torch.no_grad()
def read_face(
    path: Path,
    rig: FaceDiffusion,
    encoder: MorphableEncoder | FaceEncoder,
    detector: FaceDetector,
    face_policy: Literal["largest", "center"] | int = "largest",
) -> Face:
    """Photo to crop to codes.

    Args:
        path: the photograph.
        rig: its size is that of the aligned picture.
        encoder: a `MorphableEncoder` gets the crop around the face; a `FaceEncoder` of ours, which was trained on whole
            aligned pictures, gets those.
        detector: finds the face; not used for a `FaceEncoder`, to which the whole photo is the face.
        face_policy: which face of a photo with several.

    Raises:
        NoFaceError: when no face is found.
        ValueError: when the file is no complete picture.
        StructError: when the encoder gives codes that are not finite or not of the rig's space.
    """
    bridge = buffer_bridge(rig)
    size = bridge.renderer.size[0]
    device = next(rig.parameters()).device
    if isinstance(encoder, FaceEncoder):
        photo = read_image(path)
        whole = torch.tensor([0.0, 0.0, photo.shape[2] - 1, photo.shape[1] - 1])
        aligned = align_window(photo, whole, size)[1][None].to(device)
        codes = encoder.encode(FaceBatch(image=aligned))
    else:
        crop = crop_photo(path, size, detector, encoder.image_size, face_policy=face_policy).to(device)
        assert crop.aligned is not None  # crop_photo always takes it
        aligned, codes = crop.aligned, encoder(crop)
    return Face(path, aligned, codes.require_finite().require_space(bridge.face_model.space))


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
    """Edit one face in several ways (DiffusionRig's inference).

    Edited faces are moved so that their centres stay where the source's was before its shape was replaced.

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
    bridge = buffer_bridge(rig)
    codes = source.codes if mean_shape is None else with_mean_shape(source.codes, mean_shape.to(source.codes.shape))
    photo = source.aligned
    own = FaceBatch(
        image=photo,
        codes=recenter(codes, source.codes, bridge.face_model),
        index=torch.tensor([index], device=photo.device),
    )
    latent = rig.invert(photo, rig.condition(own)) if start == "inverted" and set(modes) != {"latent"} else None
    rendered, pictures = [], []
    for mode in modes:
        wanted = recenter(TRANSFERS[mode](codes, target.codes), source.codes, bridge.face_model)
        rendered.append(bridge.render(wanted).rendered)
        if mode == "latent":
            pictures.append(rig.edit(own, codes=wanted, donor=target.aligned, start="noise", temperature=temperature))
        else:
            pictures.append(rig.edit(own, codes=wanted, start=start, temperature=temperature, latent=latent))
    return EditedFace(source, torch.cat(rendered).clamp(0, 1).cpu(), torch.cat(pictures).cpu())


def buffer_bridge(rig: FaceDiffusion) -> BufferConditioner:
    """The conditioner of a rig that renders codes.

    Raises:
        ValueError: when the rig has none, or its pictures are not square.
    """
    bridge = next((c for c in rig.conditioners if isinstance(c, BufferConditioner)), None)
    if bridge is None:
        raise ValueError("rig: expected a rig conditioned on physical buffers, got one without a BufferConditioner")
    if bridge.renderer.size[0] != bridge.renderer.size[1]:
        raise ValueError(f"rig: expected square pictures, got a rig of {bridge.renderer.size} pixels")
    return bridge


def _encoder(given: MorphableEncoder | Path | None) -> MorphableEncoder | FaceEncoder:
    if given is None:
        return DECA()
    return load_encoder(given) if isinstance(given, Path) else given.eval()


def _describe(encoder: MorphableEncoder | Path | None) -> str:
    if encoder is None:
        return "DECA"
    return str(encoder) if isinstance(encoder, Path) else type(encoder).__name__


def _names(paths: Sequence[Path]) -> list[str]:
    """A name per photo for its results; `a.jpg` and `a.png` in one folder keep their suffixes."""
    stems = [path.stem for path in paths]
    return [p.stem if stems.count(p.stem) == 1 else p.name.replace(".", "_") for p in paths]


def _write_summary(
    output: Path, edited: Sequence[EditedFace], target: Face, settings: dict[str, object], skipped: dict[Path, str]
) -> None:
    with atomic_path(output / "edit.json") as path:
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    if skipped:
        with atomic_path(output / "skipped.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "reason"), *((str(p), reason) for p, reason in skipped.items())])
    if not edited:
        return
    rows = []
    for faces in edited:
        photos = [faces.source.aligned.cpu(), target.aligned.cpu()]
        pairs = torch.stack([faces.rendered, faces.pictures], dim=1).flatten(0, 1)
        rows.append(torch.cat([*photos, pairs]))
    write_image(output / "grid.png", make_grid(torch.cat(rows), nrow=len(rows[0]), padding=2, pad_value=1.0))
