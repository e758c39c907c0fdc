"""`diffrig-emo compare`: any set of systems on the same faces."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from diffrig_emo import __version__
from diffrig_emo.datasets.detectors import CascadeDetector, FaceDetector
from diffrig_emo.datasets.photos import list_photos
from diffrig_emo.io.json_files import write_json
from diffrig_emo.morphable import MorphableEncoder
from diffrig_emo.perception import EmotionRecognizer
from diffrig_emo.structures import FaceCodes
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.utils.devices import choose_device
from diffrig_emo.workflows.compare.faces import (
    HELD_OUT,
    ComparedFace,
    Reference,
    find_faces,
    references,
    synthetic_faces,
    true_codes,
)
from diffrig_emo.workflows.compare.judging import (
    digests_of,
    emotion_labels,
    independence_notes,
    load_judges,
    readers_of,
)
from diffrig_emo.workflows.compare.metrics import Judges, face_figures, unmeasurable
from diffrig_emo.workflows.compare.page import write_page
from diffrig_emo.workflows.compare.run import EncodedFace, Start, encode_face, memory_of_edit, paint_faces
from diffrig_emo.workflows.compare.store import (
    SystemRun,
    read_run,
    write_figures,
    write_pictures,
    write_run,
    write_skipped,
)
from diffrig_emo.workflows.compare.summary import as_json, power_notes, summarise
from diffrig_emo.workflows.compare.systems import SHIPPED, TRUTH, Reader, System, digest_of, load_systems
from diffrig_emo.workflows.compare.tables import print_report

NOTICE = "The pictures under the systems' names are AI-edited: they show what the people in the photographs never did."
"""Said wherever the pictures are shown."""
_SYNTHETIC_FACES = 12
_DEFAULT: dict[str, dict[str, Any]] = {
    "render_delta": {"encoder": SHIPPED},
    "rig": {"rig": SHIPPED, "encoder": SHIPPED},
    "rig_true_codes": {"rig": SHIPPED, "encoder": TRUTH},
}


def compare(
    systems: dict[str, dict[str, Any]] | None = None,
    images: Path | None = None,
    output: Path = Path("comparison"),
    num_faces: int | None = None,
    judge: MorphableEncoder | Path | None = None,
    recognizer: EmotionRecognizer | Path | None = None,
    detector: FaceDetector | None = None,
    start: Start = "inverted",
    steps: int = 20,
    seed: int = 0,
) -> None:
    """Compare systems on the same faces.

    Quality with confidence intervals, paired tests, time, parameters and memory, and a page to look at.
    Every system reconstructs every face and gives it the expression of the next one. Without systems and images, the
    shipped rig with its encoder, the same with true codes, and editing without a rig meet on synthetic faces. Two
    systems on photographs:

        diffrig-emo compare --images photos --systems '{a: {rig: a.pt, encoder: DECA}, b: {rig: b.pt, encoder: EMOCA}}'

    Writes `report.html` (tables and a gallery to sort, one file), `compare.json`, `figures.csv` (every face and
    system), `skipped.csv` (photographs that could not be used), and every system's pictures below `systems`. A system
    whose figures lie there already, of the same faces and settings, does not run again.

    Args:
        systems: names to what they are: encoder (DECA, EMOCA or another class, the run of an encoder, shipped, or truth
            for the true codes of synthetic faces); rig (a model file, a run of ours, or shipped), without which the
            encoder is compared by rendering; target_encoder (reads what gives the expression; the encoder if left out).
            A rig that reads emotion labels and no codes, such as a latent emotion model, edits by label.
        images: a folder of photographs, of which at least two can be used. None: synthetic people whom no shipped
            model has seen, whose true edits are known.
        output: folder for the results.
        num_faces: photographs to take at most; all if left out. Number of synthetic faces, 12 if left out.
        judge: an encoder that no system was trained with, to read codes off the pictures: a class or a run of ours.
            None: each system's own encoder does, which the report says.
        recognizer: reads emotions: a class such as HSEmotionRecognizer, or a run of an ExpressionRecognizer. None: for
            synthetic faces the shipped one, for photographs HSEmotion's file if it is among the assets.
        detector: finds faces; None is CascadeDetector, or none where all encoders take pictures whole.
        start: inverted keeps what codes do not describe; noise paints anew, as DiffusionRig does.
        steps: DDIM steps.
        seed: of noise and of the intervals' resampling.

    Raises:
        FileNotFoundError: when a photograph or a model is missing.
        ValueError: before any work when a system or a setting cannot be used; when fewer than two faces are left.
    """
    console = Console(highlight=False, soft_wrap=True)
    photos = None if images is None else list_photos(images)
    _require(systems, photos, num_faces, steps)
    chosen = dict(_DEFAULT) if systems is None else systems
    if systems is None and photos is not None:
        del chosen["rig_true_codes"]
    device = choose_device()
    loaded = load_systems(chosen, steps, seed, synthetic=photos is None)
    judges = load_judges(judge, recognizer, photos is None, device)
    readers = readers_of(loaded, judges)
    size = min(system.size for system in loaded.values())

    synthetic: SyntheticFaces | None = None
    skipped: dict[str, str] = {}
    if photos is None:
        largest = max(system.size for system in loaded.values())
        synthetic = SyntheticFaces(num_faces or _SYNTHETIC_FACES, largest, HELD_OUT)
        faces = synthetic_faces(synthetic)
    else:
        whole = all(s.takes_whole for s in loaded.values()) and (judges.judge is None or judges.judge.takes_whole)
        find = detector or (None if whole else CascadeDetector())
        faces, skipped = find_faces(photos, find, num_faces)
    _require_two(faces, skipped, output)
    labels = emotion_labels(faces, loaded, synthetic, judges, device)

    shared = {
        "version": __version__,
        "size": size,
        "faces": [[face.name, face.digest] for face in faces],
        "synthetic": synthetic is not None,
        "start": start,
        "steps": steps,
        "seed": seed,
        "judges": digests_of(judges),
    }
    settings = {name: shared | _settings(system, readers[name]) for name, system in loaded.items()}
    runs = {name: run for name in loaded if (run := read_run(output, name, settings[name])) is not None}
    encoded: dict[str, dict[str, EncodedFace]] = {}
    unusable = {name: run.unusable for name, run in runs.items()}
    for name in [name for name in loaded if name not in runs]:
        encoded[name], unusable[name] = _encode(loaded[name], faces, labels, synthetic, device, console)
    bad = {face: reason for reasons in unusable.values() for face, reason in reasons.items()}
    usable = [face for face in faces if face.name not in bad]
    skipped |= {str(face.path or face.name): bad[face.name] for face in faces if face.name in bad}
    _require_two(usable, skipped, output)
    write_skipped(output / "skipped.csv", skipped)
    known = references(usable, size, synthetic)
    for name, system in loaded.items():
        if name in runs and runs[name].faces == [face.name for face in usable]:
            console.print(f"{name}: figures of an earlier run", markup=False)
            continue
        if name not in encoded:  # it ran on faces that another system cannot use
            encoded[name], _ = _encode(system, faces, labels, synthetic, device, console)
        own = encoded.pop(name)
        codes = [own[face.name] for face in usable]
        measured = _run(system, usable, codes, known, readers[name], judges, start, device, size, output, console)
        runs[name] = dataclasses.replace(measured, settings=settings[name], unusable=unusable[name])
        write_run(output, name, runs[name])
    runs = {name: runs[name] for name in loaded}

    summary = summarise(runs, seed)
    reasons = unmeasurable(judges, known, size)
    notes = _notes(loaded, size, synthetic, start, steps, len(usable), skipped)
    notes += [*independence_notes(loaded, readers, judges), *power_notes(summary, len(usable))]
    described = {name: system.given | {"size": system.size} for name, system in loaded.items()}
    write_figures(output / "figures.csv", runs)
    write_json(
        output / "compare.json",
        {
            "notice": NOTICE,
            "settings": {
                "images": None if images is None else str(images),
                "start": start,
                "steps": steps,
                "seed": seed,
            },
            "size": size,
            "systems": described,
            "faces": [face.name for face in usable],
            "skipped": skipped,
            "notes": notes,
            "not_measured": reasons,
            **as_json(summary),
        },
    )
    write_page(output, summary, runs, known, described, notes, reasons, NOTICE)
    print_report(console, summary, notes, reasons)
    for path, reason in skipped.items():
        console.print(f"skipped {path}: {reason}", markup=False)
    console.print(f"{len(usable)} faces, {len(runs)} systems: {output / 'report.html'}", markup=False)


def _require(
    systems: Mapping[str, object] | None, photos: Sequence[Path] | None, num_faces: int | None, steps: int
) -> None:
    if systems is not None and not systems:
        raise ValueError("systems: expected at least one, as '{deca: {rig: model.pt, encoder: DECA}}', got none")
    if num_faces is not None and num_faces < 2:
        raise ValueError(f"num_faces: expected 2 or more, so that each has another to take from, got {num_faces}")
    if photos is not None and len(photos) < 2:
        raise ValueError(f"images: expected two photographs or more, got {len(photos)}; give a folder")
    if steps < 1:
        raise ValueError(f"steps: expected 1 or more, got {steps}")


def _require_two(faces: Sequence[ComparedFace], skipped: Mapping[str, str], output: Path) -> None:
    if len(faces) >= 2:
        return
    write_skipped(output / "skipped.csv", skipped)
    reasons = "; ".join(f"{path}: {reason}" for path, reason in list(skipped.items())[:3])
    raise ValueError(
        f"images: expected two faces or more that every system can use, got {len(faces)}; see "
        f"{output / 'skipped.csv'}: {reasons}"
    )


def _settings(system: System, reader: Reader | None) -> dict[str, Any]:
    return {
        "own_size": system.size,
        "weights": system.digests(),
        "reader": None if reader is None else digest_of(reader.encoder),
    }


def _encode(
    system: System,
    faces: Sequence[ComparedFace],
    labels: Sequence[int],
    synthetic: SyntheticFaces | None,
    device: torch.device,
    console: Console,
) -> tuple[dict[str, EncodedFace], dict[str, str]]:
    """Every face as the system reads it, and why it cannot read others."""
    system.to(device)
    truths: Sequence[FaceCodes | None] = [None] * len(faces) if synthetic is None else true_codes(faces, synthetic)
    encoded: dict[str, EncodedFace] = {}
    unusable: dict[str, str] = {}
    known = list(zip(faces, truths, labels, strict=True))
    for face, truth, label in track(known, f"{system.name}: codes", console=console, transient=True):
        try:
            encoded[face.name] = encode_face(face, system, truth, label, device)
        except (OSError, ValueError) as error:
            unusable[face.name] = f"{system.name}: {error}"
    system.to(torch.device("cpu"))
    return encoded, unusable


def _run(
    system: System,
    faces: Sequence[ComparedFace],
    encoded: Sequence[EncodedFace],
    known: Sequence[Reference],
    reader: Reader | None,
    judges: Judges,
    start: Start,
    device: torch.device,
    size: int,
    output: Path,
    console: Console,
) -> SystemRun:
    """Paint and measure every face; settings and what is unusable are the caller's to add."""
    system.to(device)
    if reader is not None:
        reader.encoder.to(device)
    figures: list[dict[str, float]] = []
    seconds: list[dict[str, float]] = []
    painted = paint_faces(encoded, system, start, device, size)
    for face, reference, (result, spent) in zip(
        faces,
        known,
        track(painted, f"{system.name}: pictures", total=len(faces), console=console, transient=True),
        strict=True,
    ):
        write_pictures(output, system.name, face.name, result)
        figures.append(face_figures(result.to(device), reference.to(device), system, reader, judges))
        seconds.append(spent)
    memory = memory_of_edit(encoded, system, start, device)
    system.to(torch.device("cpu"))
    return SystemRun({}, {}, [face.name for face in faces], figures, seconds, system.millions(), memory)


def _notes(
    systems: Mapping[str, System],
    size: int,
    synthetic: SyntheticFaces | None,
    start: Start,
    steps: int,
    count: int,
    skipped: Mapping[str, str],
) -> list[str]:
    what = "synthetic faces that no shipped model has seen" if synthetic is not None else "photographs"
    notes = [f"{count} {what}, the same for all systems; each takes the expression of the next one."]
    if skipped:
        notes.append(f"{len(skipped)} photographs could not be used by every system and are left out: see skipped.csv.")
    if len({system.size for system in systems.values()}) > 1:
        sizes = ", ".join(f"{name} {system.size}" for name, system in systems.items())
        notes.append(f"The systems' pictures differ in size ({sizes} pixels); all are compared at {size} pixels.")
    rendered = [name for name, system in systems.items() if system.rig is None]
    if rendered:
        notes.append(
            f"Without a rig ({', '.join(rendered)}), a reconstruction is the rendering of the codes over the "
            "photograph, and an edit the photograph plus the change of the rendering."
        )
    if len(rendered) < len(systems):
        begin = "the source's inverted latent" if start == "inverted" else "noise"
        notes.append(f"Rigs paint from {begin}, by DDIM of {steps} steps.")
    labelled = [name for name, system in systems.items() if system.editor is not None]
    if labelled:
        notes.append(
            f"{', '.join(labelled)}: an edit by the name of the next face's emotion alone, from the source's latent at "
            "half of the schedule; it cannot know how strong the expression shall be."
        )
    if synthetic is None and any(SHIPPED in system.given.values() for system in systems.values()):
        notes.append(
            "The shipped models have seen synthetic faces alone; of photographs of real people they know nothing."
        )
    return notes
