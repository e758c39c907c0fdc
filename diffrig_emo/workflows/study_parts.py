"""What the study needs before it starts: two encoders, a recogniser and a rig, made once and kept."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch
from torch import Tensor

from diffrig_emo.datamodules.synthetic import FacesInMemory, SyntheticFacesDataModule
from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.checkpoints import load_part
from diffrig_emo.io.json_files import write_json
from diffrig_emo.modules import ExpressionRecognizer, FaceDiffusion
from diffrig_emo.morphable import (
    DescentEncoder,
    OrientedGradients,
    PatchFeatures,
    SyntheticHead,
    fit_descent,
    fit_patches,
)
from diffrig_emo.structures import FaceBatch, FaceCodes, FaceCrop
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.synthesis.mirror import mirrored_codes
from diffrig_emo.workflows.experiment import Experiment, load_experiment

# Seeds of SyntheticFaces: nobody of one set is met in another. The rig's own are 0, 1 and 2.
GUIDE_FACES, JUDGE_FACES, ENCODER_VALIDATION, TEST_FACES = 110, 120, 130, 900
RECOGNIZER_SEED = 50  # of SyntheticFacesDataModule: faces 150, 151 and 152
PEOPLE = 400  # of SyntheticAlbumDataModule: from faces 1202 on


@dataclasses.dataclass(frozen=True)
class StudyParts:
    """Trained once, shared by all seeds and systems."""

    guide: DescentEncoder
    """The encoder that stage two is trained to please."""
    judge: DescentEncoder
    """The encoder that results are measured with: other features, vertices and people."""
    recognizer: ExpressionRecognizer
    """Reads emotions; trained on other faces than the rig."""
    rig: Path
    """Checkpoint of stage one."""
    guide_path: Path
    """Checkpoint of the guide, as `BetaPreservation(encoder_weights=...)` takes it."""
    r2: dict[str, dict[str, float]]
    """Held-out R^2 of both encoders, by group."""


@dataclasses.dataclass(frozen=True)
class PartSizes:
    """How large the parts are, and how long they learn."""

    guide_faces: int = 24000
    """Photographs that the guide learns from, before mirroring."""
    guide_points: int = 700
    """Vertices at which the guide looks."""
    judge_faces: int = 16000
    """Photographs that the judge learns from, before mirroring."""
    judge_points: int = 300
    """Vertices at which the judge looks."""
    rig_steps: int = 2000
    """Optimizer steps of stage one."""
    train_faces: int = 2500
    """Photographs that stage one learns from."""
    recognizer_steps: int = 4000
    """Optimizer steps of the recogniser."""
    recognizer_faces: int = 8000
    """Photographs that the recogniser learns from."""


def study_parts(cache: Path, sizes: PartSizes) -> StudyParts:
    """Make what is not in the cache yet.

    Args:
        cache: folder that keeps the parts; delete a file to have it made anew.
        sizes: of what is made.
    """
    guide, judge = guide_part(cache, sizes), judge_part(cache, sizes)
    rig, recognizer = rig_part(cache, sizes), recognizer_part(cache, sizes)
    measured = cache / "encoders.json"
    if not measured.is_file():
        batch = next(SyntheticFaces(min(512, sizes.guide_faces), guide.image_size, ENCODER_VALIDATION).batches(512))
        found = {name: encoder_r2(encoder, batch) for name, encoder in (("guide", guide), ("judge", judge))}
        write_json(measured, found)
    r2 = json.loads(measured.read_text(encoding="utf-8"))
    return StudyParts(guide, judge, recognizer, rig, cache / "guide.ckpt", r2)


def guide_part(cache: Path, sizes: PartSizes) -> DescentEncoder:
    """The training encoder, from `guide.ckpt` of the cache, or fitted and kept there."""
    return _encoder_part(build_guide(sizes.guide_points), cache / "guide.ckpt", GUIDE_FACES, sizes.guide_faces)


def judge_part(cache: Path, sizes: PartSizes) -> DescentEncoder:
    """The judge, from `judge.ckpt` of the cache, or fitted and kept there."""
    return _encoder_part(build_judge(sizes.judge_points), cache / "judge.ckpt", JUDGE_FACES, sizes.judge_faces)


def rig_part(cache: Path, sizes: PartSizes) -> Path:
    """Checkpoint of stage one: `stage_one.ckpt` of the cache, trained if it is not there."""
    path = cache / "stage_one.ckpt"
    if not path.is_file():
        options = [*quiet(cache, 0, sizes.rig_steps, average=0.995), *_data(0, sizes.rig_steps, sizes.train_faces)]
        _fit(load_experiment("fit_synthetic_64.yaml", options), FaceDiffusion, path)
    return path


def recognizer_part(cache: Path, sizes: PartSizes) -> ExpressionRecognizer:
    """The recogniser, from `recognizer.ckpt` of the cache, or trained and kept there."""
    path, steps = cache / "recognizer.ckpt", sizes.recognizer_steps
    options = [*quiet(cache, 0, steps), *_data(RECOGNIZER_SEED, steps, sizes.recognizer_faces)]
    run = load_experiment("fit_recognizer_synthetic_64.yaml", options)
    assert isinstance(run.model, ExpressionRecognizer)
    if not path.is_file():
        _fit(run, ExpressionRecognizer, path)
    load_part(run.model.recognizer, path, "recognizer", "recognizer")
    return run.model.eval()


def build_guide(n_points: int) -> DescentEncoder:
    """The training encoder, as in `model/beta_preservation_synthetic_64.yaml`, without weights."""
    return DescentEncoder(SyntheticHead(), features=OrientedGradients(), n_points=n_points)


def build_judge(n_points: int) -> DescentEncoder:
    """The judge, without weights: colours in learned filters, where the guide sees brightness in drawn ones."""
    return DescentEncoder(SyntheticHead(), features=PatchFeatures(), n_points=n_points, n_stages=4, coarse_size=24)


def quiet(folder: Path, seed: int, steps: int, average: float | None = None) -> list[str]:
    """Options of a run of the study: no logger, no checkpoints or pictures of its own.

    Args:
        folder: where Lightning may write.
        seed: of everything that is global.
        steps: optimizer steps.
        average: decay of the average of the weights; None averages nothing.
    """
    callbacks = (
        [] if average is None else [{"class_path": "diffrig_emo.callbacks.WeightEMA", "init_args": {"decay": average}}]
    )
    return [
        f"--seed_everything={seed}",
        "--trainer.logger=false",
        "--trainer.enable_checkpointing=false",
        "--trainer.num_sanity_val_steps=0",
        "--trainer.limit_val_batches=0",
        "--trainer.enable_model_summary=false",
        f"--trainer.callbacks={json.dumps(callbacks)}",
        f"--trainer.default_root_dir={folder}",
        f"--trainer.max_steps={steps}",
    ]


@torch.no_grad()
def encoder_r2(encoder: DescentEncoder, batch: FaceBatch) -> dict[str, float]:
    """Share of the variance that an encoder explains on faces that it has not learned from.

    `shape` and `exp` are measured on the face's vertices, neutral or of mean shape, where a coefficient counts by what
    it moves; `shape_codes` and `exp_codes` on the coefficients.
    """
    true = batch["codes"]
    read = encoder(FaceCrop(image=batch["image"]))
    figures = {f"{g}_codes": _r2(getattr(read, g), getattr(true, g)) for g in ("shape", "exp")}
    for group in ("shape", "exp"):
        figures[group] = _r2(_vertices(read, group), _vertices(true, group))
    for group in ("tex", "light", "global_rotation"):
        figures[group] = _r2(getattr(read, group), getattr(true, group))
    return figures


def _data(seed: int, steps: int, train_faces: int) -> list[str]:
    return [
        f"--model.init_args.lr_scheduler.init_args.total_steps={steps}",
        f"--data.init_args.num_train={train_faces}",
        f"--data.init_args.seed={seed}",
    ]


def _vertices(codes: FaceCodes, group: str) -> Tensor:
    head = SyntheticHead()
    plain = FaceCodes.zeros(
        codes.batch_size, n_shape=head.n_shape, n_tex=codes.tex.shape[1], n_exp=head.n_exp, space=head.space
    )
    vertices: Tensor = head(plain.replace(**{group: getattr(codes, group)})).vertices
    return vertices[:, head.regions["face"]]


def _r2(read: Tensor, true: Tensor) -> float:
    return float(1 - (read - true).square().sum() / (true - true.mean(dim=0)).square().sum())


def _encoder_part(encoder: DescentEncoder, path: Path, seed: int, faces: int) -> DescentEncoder:
    if not path.is_file():
        _fit_encoder(encoder, seed, faces)
        with atomic_path(path) as temporary:
            torch.save({"state_dict": {f"encoder.{k}": v for k, v in encoder.state_dict().items()}}, temporary)
    load_part(encoder, path, "encoder", path.stem)
    return encoder.eval()


def _fit_encoder(encoder: DescentEncoder, seed: int, faces: int) -> None:
    made = FacesInMemory(SyntheticFaces(faces, encoder.image_size, seed))
    codes = FaceCodes.cat([item["codes"] for item in made.items])
    images = torch.stack([made.pictures, made.pictures.flip(-1)], dim=1).flatten(0, 1)
    both = FaceCodes.cat([codes, mirrored_codes(codes)])
    if isinstance(encoder.features, PatchFeatures):
        fit_patches(encoder.features, made.pictures)
    # Every face beside its mirror image: halves of the fit are then halves of the people too.
    order = torch.arange(2 * faces).view(2, faces).T.flatten()
    fit_descent(encoder, images, both[order])


def _fit(run: Experiment, kind: type[FaceDiffusion] | type[ExpressionRecognizer], path: Path) -> None:
    assert isinstance(run.model, kind)
    assert isinstance(run.data, SyntheticFacesDataModule)
    run.trainer.fit(run.model, datamodule=run.data)
    with atomic_path(path) as temporary:
        run.trainer.save_checkpoint(temporary, weights_only=True)
