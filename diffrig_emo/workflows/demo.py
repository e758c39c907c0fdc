"""The whole way on any machine: train a small rig on synthetic faces, edit held-out ones, write a report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from diffrig_emo.callbacks import ConditionSensitivity, ImageGrid
from diffrig_emo.conditioning.buffers import BufferConditioner
from diffrig_emo.datamodules.synthetic import SyntheticFacesDataModule
from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.images import write_image
from diffrig_emo.io.json_files import write_json
from diffrig_emo.io.obj import write_obj
from diffrig_emo.metrics.functional.codes import code_errors
from diffrig_emo.modules.diffusion import FaceDiffusion
from diffrig_emo.modules.encoder import FaceEncoder
from diffrig_emo.structures import FaceCodes
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.utils.memory import peak_memory_gb
from diffrig_emo.workflows.edit_evaluation import EDITS, Edited, EditJudge, edit_scores
from diffrig_emo.workflows.experiment import Experiment, load_experiment
from diffrig_emo.workflows.report import edit_columns, picture_grid, report_html


def demo(
    output: str = "demo_output",
    steps: int = 2000,
    encoder_steps: int = 300,
    train_faces: int = 2500,
    test_faces: int = 32,
    seed: int = 0,
) -> None:
    """Train a small encoder and a small rig on synthetic faces from scratch, then edit held-out identities.

    Args:
        output: folder for report.html, grid.png, metrics.json, face.obj, the checkpoints and the configs;
            running again over the same folder replaces them.
        steps: optimizer steps of the rig.
        encoder_steps: optimizer steps of the photo-to-codes encoder.
        train_faces: number of synthetic photographs to train on.
        test_faces: number of held-out identities to edit.
        seed: seed of the faces and of training.

    Raises:
        ValueError: when a number is too small, before any work starts.
    """
    for name, value, least in [
        ("steps", steps, 1),
        ("encoder_steps", encoder_steps, 1),
        ("train_faces", train_faces, 32),
        ("test_faces", test_faces, 4),
    ]:
        if value < least:
            raise ValueError(f"demo: {name} must be at least {least}, got {value}")
    console = Console()
    started = time.perf_counter()
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)

    shared = [
        f"--seed_everything={seed}",
        "--trainer.logger=false",
        "--trainer.enable_checkpointing=false",
        "--trainer.num_sanity_val_steps=0",
        "--trainer.enable_model_summary=false",
        f"--trainer.default_root_dir={folder}",
        f"--data.init_args.num_train={train_faces}",
        f"--data.init_args.num_test={test_faces}",
        f"--data.init_args.seed={seed}",
    ]
    rig_run = load_experiment("fit_synthetic_64.yaml", [*shared, *_for_steps(steps)])
    encoder_run = load_experiment("fit_encoder_synthetic_64.yaml", [*shared, *_for_steps(encoder_steps)])
    assert isinstance(rig_run.data, SyntheticFacesDataModule)

    console.rule("1/4  Making synthetic photographs")
    rig_run.data.setup("fit")
    console.rule("2/4  Training the encoder: photo to codes")
    encoder = _fit(encoder_run, rig_run.data, folder / "encoder", FaceEncoder)
    console.rule("3/4  Training the rig: codes and global code to photo")
    rig = _fit(rig_run, rig_run.data, folder / "rig", FaceDiffusion)
    console.rule("4/4  Editing held-out faces")
    judge, edits, inferred, metrics = judge_edits(rig, encoder, rig_run.data.test_faces)
    metrics["seconds"] = time.perf_counter() - started
    metrics["peak_memory_gb"] = peak_memory_gb()
    write_outputs(folder, judge, edits, inferred, metrics, rig_run.config)
    _print_summary(console, metrics)
    console.print(f"Report: {folder / 'report.html'}")


def judge_edits(
    rig: FaceDiffusion, encoder: FaceEncoder, faces: SyntheticFaces
) -> tuple[EditJudge, dict[str, Edited], dict[str, Edited], dict[str, Any]]:
    """Edit held-out faces every way, from true and from inferred codes.

    Returns:
        The judge, the edits from true codes, the edits from inferred codes, and the figures of
        `metrics.json`.
    """
    bridge = next(c for c in rig.conditioners if isinstance(c, BufferConditioner))
    rig.eval()
    encoder.eval()
    judge = EditJudge(faces, bridge)
    with torch.no_grad():
        codes = encoder.encode(judge.batch)
    edits = {name: judge.run(rig, name) for name in EDITS}
    inferred = {name: judge.run(rig, name, codes) for name in EDITS}

    def score(edited: Edited, given: FaceCodes | None) -> dict[str, float]:
        return edit_scores(edited, judge.baselines(rig, edited, given))

    metrics: dict[str, Any] = {"faces": len(faces), **score(edits["expression"], None)}
    metrics["inferred_codes"] = score(inferred["expression"], codes)
    metrics["inferred_codes"]["errors"] = {k: float(v) for k, v in code_errors(codes, judge.batch["codes"]).items()}
    for name in ("pose", "light", "global"):
        metrics[name] = edit_scores(edits[name], {"source": edits[name].source})
    return judge, edits, inferred, metrics


def write_outputs(
    folder: Path,
    judge: EditJudge,
    edits: dict[str, Edited],
    inferred: dict[str, Edited],
    metrics: dict[str, Any],
    config: str,
) -> None:
    """Write the report, the grid, the figures and a textured mesh; each file appears only when complete."""
    columns = {name: edit_columns(edits[name], inferred[name]) for name in edits}
    write_image(folder / "grid.png", picture_grid(list(columns.values()), rows=4))
    write_json(folder / "metrics.json", metrics)
    bridge, codes = judge.bridge, judge.batch["codes"][0]
    topology = bridge.face_model.topology
    with torch.no_grad():
        vertices, albedo = bridge.face_model(codes).vertices[0], bridge.texture(codes.tex)[0].clamp(0, 1)
    write_obj(folder / "face.obj", vertices, topology.faces, topology.uvs, topology.uv_faces, albedo)
    page = report_html(
        title="diffrig_emo demo",
        note=(
            "A rig trained from scratch on synthetic faces edits identities that it has never seen. "
            "The true edit is the same photograph made with the edited codes, before camera noise and JPEG. "
            "PSNR in dB: changed pixels are those that the true edit changes by more than 8/255, the face is the "
            "union of source and target coverage, the rest is neither."
        ),
        tables={"Expression edits": summary_rows(metrics)},
        galleries={f"{name.capitalize()} edits": pictures for name, pictures in columns.items()},
        config=config,
    )
    with atomic_path(folder / "report.html") as path:
        path.write_text(page, encoding="utf-8")


def summary_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the summary table: what, from true codes, from inferred codes."""
    inferred = metrics["inferred_codes"]
    rows: list[dict[str, Any]] = []
    for region in ("changed", "face"):
        edit = "psnr_changed_edit" if region == "changed" else "psnr_face"
        rows.append({"": f"{region}: edit", "true codes": metrics[edit], "inferred codes": inferred[edit]})
        for name in ("source", "render_paste", "render_delta", "random_noise", "shuffled_buffers"):
            key = f"psnr_{region}_{name}"
            label = f"{region}: {name.replace('_', ' ')}"
            rows.append({"": label, "true codes": metrics[key], "inferred codes": inferred[key]})
    rows.append({"": "rest: edit", "true codes": metrics["psnr_rest"], "inferred codes": inferred["psnr_rest"]})
    return rows


def _for_steps(steps: int) -> list[str]:
    return [f"--trainer.max_steps={steps}", f"--model.init_args.lr_scheduler.init_args.total_steps={steps}"]


def _fit(run: Experiment, data: SyntheticFacesDataModule, folder: Path, kind: type[Any]) -> Any:
    if not isinstance(run.model, kind):
        raise TypeError(f"demo: the shipped config describes a {type(run.model).__name__}, not a {kind.__name__}")
    # What watches a long training would cost a short one a tenth of its time.
    trainer: Any = run.trainer
    trainer.callbacks = [c for c in trainer.callbacks if not isinstance(c, ImageGrid | ConditionSensitivity)]
    run.trainer.fit(run.model, datamodule=data)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / "config.yaml") as path:
        path.write_text(run.config, encoding="utf-8")
    with atomic_path(folder / "last.ckpt") as path:
        run.trainer.save_checkpoint(path, weights_only=False)  # with the optimizer, so that training can go on
    return run.model


def _print_summary(console: Console, metrics: dict[str, Any]) -> None:
    table = Table(title=f"Expression edits of {metrics['faces']} held-out faces, PSNR (dB)")
    for name in ("", "true codes", "inferred codes"):
        table.add_column(name, justify="left" if not name else "right")
    for row in summary_rows(metrics):
        table.add_row(row[""], f"{row['true codes']:.2f}", f"{row['inferred codes']:.2f}")
    console.print(table)
    console.print(f"{metrics['seconds'] / 60:.1f} minutes, peak memory {metrics['peak_memory_gb']:.2f} GB")
