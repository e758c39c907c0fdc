"""`diffrig-emo emotion-study`: the evaluation of latent emotion editing, beside the published table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from rich.console import Console
from rich.markdown import Markdown
from torch import Tensor

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.images import write_image
from diffrig_emo.io.json_files import write_json
from diffrig_emo.modules import EmotionEditor
from diffrig_emo.morphable import MorphableEncoder
from diffrig_emo.structures import FaceBatch
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.utils.devices import choose_device
from diffrig_emo.workflows.compare.summary import published_table
from diffrig_emo.workflows.emotion.faces import EmotionFaces, emotion_faces
from diffrig_emo.workflows.emotion.figures import EmotionJudges, Figures, join, means, measure
from diffrig_emo.workflows.emotion.parts import SHIPPED, emotion_labels, load_latent, load_recognizer
from diffrig_emo.workflows.emotion.systems import BufferSystem, EmotionSystem, FinetunedSystem, LatentSystem
from diffrig_emo.workflows.emotion.tables import GROUND_TRUTH, side_by_side
from diffrig_emo.workflows.load import load_encoder, load_rig
from diffrig_emo.workflows.plot import Curve, Panel, draw_panels
from diffrig_emo.workflows.report import picture_grid
from diffrig_emo.workflows.shipped import shipped_encoder, shipped_rig

TARGETS = ("happy", "sad", "surprised", "scared", "disgusted", "angry")
"""The emotions of the published table."""
LATENT, FINETUNED = "latent", "latent, finetuned"
_LABELLED = 400
"""Faces that the two-stage way learns the labels' expressions from."""


def emotion_study(
    rig: str,
    output: str = "emotion_study",
    data: str | None = None,
    recognizer: str | None = None,
    finetuned: str | None = None,
    two_stage: str | None = None,
    encoder: MorphableEncoder | Path | None = None,
    targets: Sequence[str] = TARGETS,
    faces: int = 96,
    steps: int = 20,
    strength: float = 0.5,
    guidance_scale: float = 4.0,
    inversion_guidance: float | None = None,
    finetuned_steps: int = 40,
    finetuned_guidance: float | None = None,
    sweep_faces: int = 32,
    strengths: Sequence[float] = (0.2, 0.35, 0.5, 0.65, 0.8),
    step_counts: Sequence[int] = (5, 10, 20, 40),
    guidance_scales: Sequence[float] = (1.0, 2.0, 3.0, 4.0, 5.0),
    lpips: str | None = None,
    arcface: str | None = None,
    image_size: int = 64,
) -> None:
    """Edit held-out faces to every emotion, and lay the figures beside the published ones.

    For every target emotion, the faces that show another one are edited to it. Writes `emotion.json` (every target's
    accuracy, PSNR, SSIM, LPIPS, CSIM and what else is known, and `overall`, which says why figures are null) and
    `edits.png`, both of the finetuned models where they are given; `emotion_more.json` (the other systems, the sweeps,
    the settings), `table.md`, and a plot of each sweep of the latent model: `sweep_strength.png` (t_0),
    `sweep_steps.png`, `sweep_guidance.png`.

        diffrig-emo emotion-study --rig latent_run --encoder shipped --two_stage shipped

    Args:
        rig: run or checkpoint of the latent emotion model, or shipped.
        output: folder of the results.
        data: YAML of a DataModule, such as data/affectnet_labels_128.yaml, whose validation faces are edited; None:
            synthetic people whom nobody has seen, whose true edits are known.
        recognizer: tells whether the emotion was reached; one that nothing was trained with: the run of an
            ExpressionRecognizer, HSEmotion's ONNX file, or shipped. None: shipped for synthetic faces, else HSEmotion's
            file if it is found.
        finetuned: folder with a folder of each emotion's finetuned model ("happy", ...), or of one for "all".
        two_stage: a rig of physical buffers (a model file, a run, or shipped), measured besides; it needs an encoder.
        encoder: reads codes off whole pictures, for the drift of the identity: a class such as DECA, the run of an
            encoder, or shipped. None leaves the drift out.
        targets: emotions to edit to.
        faces: how many faces.
        steps: steps up, and as many down.
        strength: how far up, as a share of the schedule: 0.5 is t_0 = 500.
        guidance_scale: classifier-free guidance.
        inversion_guidance: that of the way up; None takes the same, as is published.
        finetuned_steps: steps down of finetuned models; their latents are found in `steps`, without guidance.
        finetuned_guidance: guidance of theirs on the way down; None takes `guidance_scale`.
        sweep_faces: faces of the sweeps, each edited to one emotion; 0 leaves them out.
        strengths: strengths of their sweep.
        step_counts: steps of theirs.
        guidance_scales: guidance of theirs.
        lpips: LPIPS' trunk; None: looked for among the assets.
        arcface: ArcFace's file; None: looked for among the assets.
        image_size: side of synthetic faces in pixels.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: when a number is out of range, before anything is edited.
    """
    labels = emotion_labels(targets)
    _check({"faces": (faces, 2), "sweep_faces": (sweep_faces, 0), "image_size": (image_size, 32)})
    if two_stage is not None and encoder is None:
        raise ValueError("encoder: two_stage reads codes; give the encoder of its code space too")
    console, folder, device = Console(), Path(output), choose_device()
    synthetic = data is None
    reader = load_recognizer(recognizer, synthetic).to(device)
    codes_of = None if encoder is None else _encoder(encoder).to(device)
    judges = EmotionJudges.find(reader, codes_of, lpips, arcface)
    for network in (judges.lpips, judges.embedder):
        if isinstance(network, torch.nn.Module):
            network.to(device)
    model = load_latent(rig).to(device)
    editor = EmotionEditor(model, None, steps, strength, guidance_scale, inversion_guidance)
    sweeps = sweep_systems(editor, strengths, step_counts, guidance_scales)
    systems: dict[str, EmotionSystem] = {LATENT: LatentSystem(editor)}
    own_guidance = guidance_scale if finetuned_guidance is None else finetuned_guidance
    if finetuned is not None:
        systems[FINETUNED] = FinetunedSystem(editor, finetuned, own_guidance, finetuned_steps)
    held = emotion_faces(data, faces, image_size)
    held = dataclasses.replace(held, batch=_moved(held.batch, device))
    if two_stage is not None and codes_of is not None:
        labelled = held.batch
        if synthetic:
            labelled = _moved(next(SyntheticFaces(_LABELLED, image_size, seed=0).batches(_LABELLED)), device)
        painter = shipped_rig() if two_stage == SHIPPED else load_rig(two_stage)
        systems["two stages"] = BufferSystem(painter.to(device), codes_of, labelled)

    with torch.no_grad():
        image = held.batch["image"]
        painted = torch.cat([model.decode(model.encode(part)) for part in image.split(32)])
    chief = LATENT if finetuned is None else FINETUNED
    results: dict[str, dict[str, dict[str, float | None]]] = {}
    pictures: dict[str, Tensor] = {"source": image.cpu(), "autoencoder": painted.cpu()}
    for name, system in systems.items():
        console.print(f"Editing: {name}")
        results[name], edits = evaluate(system, held, labels, judges, painted)
        if name == chief:
            pictures |= edits
    results[GROUND_TRUTH] = _ground_truth(held, labels, judges)

    settings: dict[str, Any] = {
        "system": chief,
        "faces": faces,
        "data": data or "synthetic",
        "steps": steps,
        "t0": editor.timesteps[-1],
        "guidance_scale": guidance_scale,
        "inversion_guidance": editor.inversion_guidance,
        "eta": 0,
    }
    if finetuned is not None:
        settings |= {"finetuned_steps": finetuned_steps, "finetuned_guidance": own_guidance}
    rows: dict[str, Any] = results[chief]
    if judges.reasons():
        rows = {**rows, "overall": {**rows["overall"], "null_because": judges.reasons()}}
    more = {
        "settings": settings,
        "systems": {name: others for name, others in results.items() if name != chief},
        "sweeps": _sweep(sweeps, held, labels, judges, sweep_faces, folder),
    }
    table = side_by_side({name: rows for name, rows in results.items() if name != GROUND_TRUTH}, list(labels))
    write_study(folder, rows, more, table)
    shown = {n: p[:6] for n, p in pictures.items()}
    write_image(folder / "edits.png", picture_grid([shown], rows=min(6, faces)))
    console.print(Markdown((folder / "table.md").read_text(encoding="utf-8")))
    console.print(json.dumps(results[chief]["overall"], indent=1))


def evaluate(
    system: EmotionSystem, faces: EmotionFaces, labels: dict[str, int], judges: EmotionJudges, painted: Tensor | None
) -> tuple[dict[str, dict[str, float | None]], dict[str, Tensor]]:
    """Edit every face that shows another emotion to each target.

    Args:
        system: edits.
        faces: held-out faces.
        labels: targets by name.
        judges: networks.
        painted: the autoencoder's reconstructions of all faces; None where there are none.

    Returns:
        Figures of each target, and `overall` over all edits, each also with the number of `edits`; and pictures of all
        faces by target, the unedited one where a face shows the target already.
    """
    own = faces.batch["label"].tolist()
    rows: dict[str, dict[str, float | None]] = {}
    parts: list[Figures] = []
    pictures: dict[str, Tensor] = {}
    for name, label in labels.items():
        numbers = [i for i, shown in enumerate(own) if shown != label]
        if not numbers:
            raise ValueError(f"faces: all {len(own)} are {name} already; take more")
        figures, edit = measure(system, faces, numbers, label, judges, painted)
        rows[name] = {**means(figures), "edits": float(len(numbers))}
        parts.append(figures)
        pictures[name] = faces.batch["image"].cpu().clone()
        pictures[name][numbers] = edit.cpu()
    whole = join(parts)
    rows["overall"] = {**means(whole), "edits": float(len(whole["accuracy"]))}
    return rows, pictures


def write_study(folder: Path, rows: dict[str, Any], more: dict[str, Any], table: str) -> None:
    """Write `emotion.json`, `emotion_more.json` and `table.md`."""
    source = published_table()["source"]
    for name, content in {"emotion.json": rows, "emotion_more.json": more}.items():
        write_json(folder / name, content)
    note = (
        f"Published figures: {source}. They are of AffectNet, by other recognisers and networks: with other data, no "
        "two digits compare. Bold: measured here.\n"
    )
    with atomic_path(folder / "table.md") as temporary:
        temporary.write_text(f"{table}\n{note}", encoding="utf-8")


def _ground_truth(
    faces: EmotionFaces, labels: dict[str, int], judges: EmotionJudges
) -> dict[str, dict[str, float | None]]:
    """The recogniser on unedited faces of each emotion: what edits can hope for."""
    with torch.no_grad():
        seen = torch.cat([judges.recognizer(part).label for part in faces.batch["image"].split(64)])
    label = faces.batch["label"]
    right = {name: (seen[label == number] == number).float() for name, number in labels.items()}
    rows = {name: means({"accuracy": hits}) for name, hits in right.items()}
    rows["overall"] = means({"accuracy": torch.cat(list(right.values()))})
    return rows


AXES = {"strength": "t0, share of the schedule", "steps": "DDIM steps", "guidance": "guidance scale"}
"""The settings that are swept."""


def sweep_systems(
    editor: EmotionEditor, strengths: Sequence[float], step_counts: Sequence[int], guidance_scales: Sequence[float]
) -> dict[str, list[tuple[float, LatentSystem]]]:
    """The latent model with one setting changed and the others kept, by the name of the setting and its value.

    Args:
        editor: the model as it is studied.
        strengths: values of t0, as shares of the schedule.
        step_counts: numbers of steps.
        guidance_scales: guidance, of both ways where both have the same.

    Raises:
        ValueError: when a value is out of range.
    """
    steps, strength = len(editor.timesteps), editor.timesteps[-1] / editor.rig.schedule.num_steps
    down, up = editor.guidance_scale, editor.inversion_guidance
    settings: dict[str, list[tuple[float, tuple[int, float, float, float]]]] = {
        "strength": [(value, (steps, value, down, up)) for value in strengths],
        "steps": [(value, (value, strength, down, up)) for value in step_counts],
        "guidance": [(value, (steps, strength, value, value if up == down else up)) for value in guidance_scales],
    }
    return {
        name: [(float(value), LatentSystem(EmotionEditor(editor.rig, None, *numbers))) for value, numbers in points]
        for name, points in settings.items()
    }


def _sweep(
    sweeps: dict[str, list[tuple[float, LatentSystem]]],
    faces: EmotionFaces,
    labels: dict[str, int],
    judges: EmotionJudges,
    count: int,
    folder: Path,
) -> dict[str, list[dict[str, float | None]]]:
    """Figures along each setting, every face edited to one emotion, and a plot of each."""
    groups: dict[int, list[int]] = {}
    for face, own in enumerate(faces.batch["label"][:count].tolist()):
        others = [target for target in labels.values() if target != own]
        if others:
            groups.setdefault(others[face % len(others)], []).append(face)
    found: dict[str, list[dict[str, float | None]]] = {}
    for name, points in sweeps.items() if groups else ():
        found[name] = []
        for value, system in points:
            parts = [measure(system, faces, numbers, target, judges)[0] for target, numbers in groups.items()]
            found[name].append({name: value, **means(join(parts))})
        if points:
            write_image(folder / f"sweep_{name}.png", draw_panels(_panels(name, AXES[name], found[name])))
    return found


def _panels(name: str, axis: str, points: Sequence[dict[str, float | None]]) -> list[Panel]:
    x = [float(point[name] or 0.0) for point in points]
    labels = [f"{value:g}" for value in x]
    drawn = {"accuracy": "share of edits read as the target", "psnr": "PSNR to the source, dB", "psnr_changed": "dB"}
    titles = {"accuracy": "Emotion reached", "psnr": "Kept of the source", "psnr_changed": "PSNR to the true edit"}
    panels = []
    for figure, y_label in drawn.items():
        y = [point.get(figure) for point in points]
        if all(value is not None for value in y):
            curve = Curve("latent", x, [float(value or 0.0) for value in y], labels)
            panels.append(Panel(titles[figure], axis, y_label, [curve]))
    return panels


def _encoder(given: MorphableEncoder | Path) -> MorphableEncoder:
    if isinstance(given, MorphableEncoder):
        return given.eval()
    if str(given) == SHIPPED:
        return shipped_encoder().encoder.eval()
    if not given.exists():
        raise FileNotFoundError(f"encoder: expected shipped, a class such as DECA, or a run, got {given}")
    return load_encoder(given).encoder.eval()


def _moved(batch: FaceBatch, device: torch.device) -> FaceBatch:
    names = ("image", "label", "index", "codes", "va")
    given: dict[str, Any] = {**batch}
    return cast(FaceBatch, {name: given[name].to(device) for name in names if name in given})


def _check(numbers: dict[str, tuple[int, int]]) -> None:
    for name, (value, least) in numbers.items():
        if value < least:
            raise ValueError(f"{name}: expected at least {least}, got {value}")
