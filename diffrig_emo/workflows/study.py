"""Stage one against stage two, where the truth is known, measured by an encoder that neither was trained with."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import lightning as L
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from diffrig_emo.conditioning import BufferConditioner
from diffrig_emo.conditioning.reencode import reencode
from diffrig_emo.datamodules.synthetic import SyntheticFacesDataModule
from diffrig_emo.datamodules.synthetic_album import SyntheticAlbumDataModule
from diffrig_emo.io.images import write_image
from diffrig_emo.io.json_files import write_json
from diffrig_emo.losses import measure_floor
from diffrig_emo.modules import BetaPreservation, FaceDiffusion
from diffrig_emo.morphable import MorphableEncoder
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.transforms.edits import transfer_expression
from diffrig_emo.workflows.experiment import Experiment, load_experiment
from diffrig_emo.workflows.report import picture_grid
from diffrig_emo.workflows.study_judge import StudyFaces
from diffrig_emo.workflows.study_parts import PEOPLE, TEST_FACES, PartSizes, StudyParts, quiet, study_parts

_CHAIN, _WEIGHT = "--model.init_args.chain", "--model.init_args.preservation_weight"
_STILLNESS, _SHAPE = "--model.init_args.stillness_weight", "--model.init_args.preservation.init_args.shape"

CHAINS = {
    "stage_two_one_step": [
        f"{_CHAIN}=diffrig_emo.diffusion.OneStepEdit",
        f"{_WEIGHT}=1",
        f"{_STILLNESS}=0",
        f"{_SHAPE}=1",
    ],
    "stage_two_truncated": [],
    "stage_two_inversion": [
        f"{_CHAIN}=diffrig_emo.diffusion.InversionEdit",
        f"{_CHAIN}.init_args.num_steps=6",
        f"{_CHAIN}.init_args.strength=1",
        f"{_WEIGHT}=1",
        f"{_SHAPE}=1",
    ],
}
"""The strategies of stage two, as options of its config.

The loss of a one-step guess, or of a chain from latents that hold all of the source, is a rougher stand-in for an edit
as it is made: weighed as the truncated chain's, it does harm on validation faces.
"""

COLUMNS = ("expression_error", "beta_drift", "texture_drift", "pose_drift", "light_drift", "psnr", "psnr_changed",
           "ssim", "emotion_accuracy")  # fmt: skip


def study(
    output: str = "study_output",
    seeds: Sequence[int] = (0, 1, 2),
    cache: str | None = None,
    steps: int = 200,
    faces: int = 48,
    guide_faces: int = PartSizes.guide_faces,
    guide_points: int = PartSizes.guide_points,
    judge_faces: int = PartSizes.judge_faces,
    judge_points: int = PartSizes.judge_points,
    rig_steps: int = PartSizes.rig_steps,
    recognizer_steps: int = PartSizes.recognizer_steps,
    train_faces: int = PartSizes.train_faces,
    recognizer_faces: int = PartSizes.recognizer_faces,
    num_inference_steps: int = 20,
) -> None:
    """Compare stage one, stage two by each strategy, and their controls on synthetic faces.

    Encoders, recogniser and stage one are trained once and kept in the cache; every seed then trains control, the
    strategies of stage two and a personalised rig, and measures them on people of its own. A seed that is finished is
    not run again. `study.json` holds {system: {metric: {mean, std, n}}} over the seeds; `encoders.json` holds the
    held-out R^2 of the encoder that taught and of the one that judged.

    Args:
        output: folder for study.json, one JSON file per seed, and pictures.
        seeds: seeds of training and of the test faces.
        cache: folder of the parts trained once; None is `cache` in the output folder.
        steps: optimizer steps of every system after stage one.
        faces: test faces per seed.
        guide_faces: photographs that the encoder learns from that stage two is trained to please.
        guide_points: vertices at which it looks.
        judge_faces: photographs that the encoder learns from that results are measured with.
        judge_points: vertices at which that one looks; it has twice as many features at each.
        rig_steps: optimizer steps of stage one.
        recognizer_steps: optimizer steps of the emotion recogniser.
        train_faces: photographs that every rig learns from.
        recognizer_faces: photographs that the recogniser learns from.
        num_inference_steps: DDIM steps of every edit.

    Raises:
        ValueError: when a number is too small, before any work starts.
    """
    least = {
        "steps": 1,
        "faces": 8,
        "guide_faces": 4,
        "guide_points": 7,
        "judge_faces": 4,
        "judge_points": 7,
        "rig_steps": 1,
        "recognizer_steps": 1,
        "train_faces": 32,
        "recognizer_faces": 32,
    }
    for name, minimum in least.items():
        if locals()[name] < minimum:
            raise ValueError(f"study: {name} must be at least {minimum}, got {locals()[name]}")
    if not seeds:
        raise ValueError("study: seeds must name at least one seed")
    console = Console()
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    home = Path(cache) if cache else folder / "cache"
    sizes = PartSizes(
        guide_faces=guide_faces,
        guide_points=guide_points,
        judge_faces=judge_faces,
        judge_points=judge_points,
        rig_steps=rig_steps,
        train_faces=train_faces,
        recognizer_steps=recognizer_steps,
        recognizer_faces=recognizer_faces,
    )
    parts = study_parts(home, sizes)
    for name, r2 in parts.r2.items():
        console.print(f"{name}: held-out R2 " + ", ".join(f"{k} {v:.2f}" for k, v in r2.items()))
    data = SyntheticFacesDataModule(num_train=train_faces, num_val=8, num_test=8, batch_size=8)
    budget = Budget(steps, faces, num_inference_steps, home)
    for seed in seeds:
        path = folder / f"seed_{seed}.json"
        if path.is_file():
            console.print(f"seed {seed}: done before, {path}")
            continue
        console.rule(f"Seed {seed}")
        started = time.perf_counter()
        figures, pictures = run_seed(parts, data, seed, budget)
        figures["seconds"] = {"total": time.perf_counter() - started}
        write_image(folder / f"seed_{seed}.png", picture_grid([pictures], rows=6))
        write_json(path, figures)
    results = [json.loads((folder / f"seed_{seed}.json").read_text(encoding="utf-8")) for seed in seeds]
    table = aggregate(results)
    write_json(folder / "study.json", table)
    write_json(folder / "encoders.json", parts.r2)
    _print_table(console, table)


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a seed may cost."""

    steps: int
    """Optimizer steps of every system after stage one."""
    faces: int
    """Test faces."""
    num_inference_steps: int
    """DDIM steps of every edit."""
    folder: Path
    """Where Lightning may write."""


def run_seed(
    parts: StudyParts, data: SyntheticFacesDataModule, seed: int, budget: Budget
) -> tuple[dict[str, dict[str, float]], dict[str, Tensor]]:
    """Train and measure every system once.

    Returns:
        Figures by system, and the pictures of some systems by name.
    """
    stage_one = load_experiment("fit_synthetic_64.yaml", _further(parts, seed, budget)).model
    assert isinstance(stage_one, FaceDiffusion)
    stage_one.eval()
    bridge = next(c for c in stage_one.conditioners if isinstance(c, BufferConditioner))
    test = StudyFaces(SyntheticFaces(budget.faces, seed=TEST_FACES + seed), range(budget.faces), bridge)

    def measure(task: StudyFaces, edit: Tensor, emotions: Tensor | None = None) -> dict[str, float]:
        return task.figures(edit, emotions, parts.judge, parts.guide, parts.recognizer)

    image = test.batch["image"]
    figures = {
        "source": measure(test, image, image),
        "true_edit": measure(test, test.true_edit, test.true_emotions),
        "render_delta": measure(test, *test.render_deltas()),
    }
    pictures = {"source": image, "true edit": test.clean_edit}
    for name, rig in _systems(parts, data, seed, budget, stage_one):
        edit, emotions = _edits(rig, test)
        figures[name] = measure(test, edit, emotions)
        figures[f"{name}_noise"] = measure(test, rig.edit(test.batch, codes=test.target, start="noise"))
        pictures[name.replace("_", " ")] = edit
    personal, album = _personalised(parts, seed, budget)
    person = StudyFaces(album.faces, album.test_photos, bridge)
    for name, rig in (("personalised", personal), ("stage_one_person", stage_one)):
        figures[name] = measure(person, *_edits(rig, person))
    figures["true_edit_person"] = measure(person, person.true_edit, person.true_emotions)
    return figures, pictures


def aggregate(results: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and standard deviation over seeds: {system: {metric: {mean, std, n}}}.

    Example:
        >>> aggregate([{"source": {"psnr": 1.0}}, {"source": {"psnr": 3.0}}])["source"]["psnr"]
        {'mean': 2.0, 'std': 1.4142135623730951, 'n': 2}
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    for system, metrics in results[0].items():
        table[system] = {}
        for metric in metrics:
            values = [r[system][metric] for r in results]
            mean = sum(values) / len(values)
            spread = sum((v - mean) ** 2 for v in values) / (len(values) - 1) if len(values) > 1 else 0.0
            table[system][metric] = {"mean": mean, "std": math.sqrt(spread), "n": len(values)}
    return table


def _systems(
    parts: StudyParts, data: SyntheticFacesDataModule, seed: int, budget: Budget, stage_one: FaceDiffusion
) -> Iterator[tuple[str, FaceDiffusion]]:
    """Stage one, and what is made of it, one after the other, so that one rig at a time is in memory."""
    yield "stage_one", stage_one
    data.seed = seed  # the order of training; the faces stay
    data.setup("fit")
    further = [*_further(parts, seed, budget), "--data=data/synthetic_64.yaml"]
    control = load_experiment(
        "fit_personal_synthetic_64.yaml", [*further, "--model.init_args.optimizer.init_args.lr=4e-4"]
    )
    yield "control", _train(control, data)
    floor = _floor(parts.guide, data.train_faces)
    for name, options in CHAINS.items():
        encoder = "--model.init_args.encoder"
        options = [*further, *options, f"{encoder}_weights={parts.guide_path}"]
        options.append(f"{encoder}.init_args.n_points={len(parts.guide.points)}")
        run = load_experiment("fit_beta_preservation_synthetic_64.yaml", options)
        assert isinstance(run.model, BetaPreservation)
        run.model.preservation.floor = floor
        yield name, _train(run, data)


def _edits(rig: FaceDiffusion, task: StudyFaces) -> tuple[Tensor, Tensor]:
    """Edits to the task's targets and to its emotions, from the same inverted latents."""
    batch = task.batch
    latent = rig.invert(batch["image"], rig.condition(batch))
    target, emotions = (rig.edit(batch, codes=codes, latent=latent) for codes in (task.target, task.emotions))
    return target, emotions


def _personalised(parts: StudyParts, seed: int, budget: Budget) -> tuple[FaceDiffusion, SyntheticAlbumDataModule]:
    """A rig that has learned one test person, and that person's album."""
    options = [*_further(parts, seed, budget), f"--data.init_args.seed={PEOPLE + seed}"]
    run = load_experiment("fit_personal_synthetic_64.yaml", [*options, "--data.init_args.num_test=16"])
    assert isinstance(run.data, SyntheticAlbumDataModule)
    return _train(run, run.data), run.data


def _further(parts: StudyParts, seed: int, budget: Budget) -> list[str]:
    """Options of every training that starts from stage one."""
    return [
        *quiet(budget.folder, seed, budget.steps, average=0.95),
        f"--model.init_args.initial_weights={parts.rig}",
        f"--model.init_args.seed={seed}",
        f"--model.init_args.num_inference_steps={budget.num_inference_steps}",
    ]


def _train(run: Experiment, data: L.LightningDataModule) -> FaceDiffusion:
    assert isinstance(run.model, FaceDiffusion)
    run.trainer.fit(run.model, datamodule=data)
    return run.model.eval()


@torch.no_grad()
def _floor(guide: MorphableEncoder, people: SyntheticFaces) -> dict[str, float]:
    """What the training encoder reads off true edits of people that the rig has learned: no test face is looked at."""
    faces = min(64, len(people))
    batch = next(people.batches(faces))
    codes = batch["codes"]
    donors = torch.arange(faces).roll(-1)
    true_edit = people.photograph(range(faces), codes=transfer_expression(codes, codes[donors]))
    before, after = reencode(guide, batch["image"]), reencode(guide, true_edit)
    return measure_floor(before, after, transfer_expression(before, before[donors]))


def _print_table(console: Console, table: dict[str, dict[str, dict[str, float]]]) -> None:
    shown = Table(title="Edits of held-out faces, read by the judge")
    for name in ("", *COLUMNS):
        shown.add_column(name.replace("_", " "), justify="left" if not name else "right")
    for system, metrics in table.items():
        cells = [metrics.get(name) for name in COLUMNS]
        if any(cells):
            shown.add_row(system, *("" if c is None else f"{c['mean']:.3g}±{c['std']:.1g}" for c in cells))
    Console(width=max(console.width, 150)).print(shown)  # a figure cut short is none
