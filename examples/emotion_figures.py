"""Train every stage of the latent emotion model on synthetic faces, and measure it: `docs/results/emotion.json`.

    python examples/emotion_figures.py --output emotion_figures

Photographs are made once for all stages. What lies in the output folder is not trained again, so a run that was
stopped goes on with the stage that it was at.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import lightning as L
from jsonargparse import auto_cli

from diffrig_emo.datamodules import SyntheticFacesDataModule
from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.json_files import write_json
from diffrig_emo.modules import FaceDiffusion
from diffrig_emo.workflows.emotion.invert import invert_emotions
from diffrig_emo.workflows.emotion.study import emotion_study
from diffrig_emo.workflows.experiment import load_experiment
from diffrig_emo.workflows.load import WEIGHTS, load_run
from diffrig_emo.workflows.shipped import shipped_run, write_small_run

STEPS, CHAIN_STEPS = 20, 2  # of the latent model, and of finetuned ones
LATENT = "fit_latent_emotion_synthetic_64.yaml"
RESULTS = Path(__file__).parents[1] / "docs" / "results"
TEACHER = 1000  # of SyntheticFacesDataModule: the teacher's people are nobody else's
LABELS = {"surprised": "surprise", "scared": "fear", "disgusted": "disgust", "angry": "anger"}
EMOTIONS = ("happy", "sad", "surprised", "scared", "disgusted", "angry")


def figures(
    output: Path = Path("emotion_figures"),
    weights: Path | None = None,
    shipped: bool = False,
    results: Path = RESULTS,
    faces: int = 6000,
    vq_steps: int = 4000,
    latent_steps: int = 6000,
    teacher_steps: int = 2000,
    paired_steps: int = 6000,
    own_steps: int = 300,
    emotions: Sequence[str] = EMOTIONS,
    inverted_faces: int = 3200,
    strength: float = 0.5,
    guidance_scale: float = 4.0,
    inversion_guidance: float | None = 1.0,
    study_faces: int = 64,
) -> None:
    """Train what is missing, and write the figures.

    Args:
        output: folder of the runs.
        weights: folder that the latent model is written to, as it comes with the package; None writes none.
        shipped: start from the latent model that comes with the package, and train neither it nor its autoencoder.
        results: folder for emotion.json and the pictures.
        faces: training photographs of the autoencoder; the teacher has half as many.
        vq_steps: optimizer steps of the autoencoder.
        latent_steps: optimizer steps of the latent model.
        teacher_steps: optimizer steps of the recogniser that finetuning is taught by; the judge is the shipped one.
        paired_steps: optimizer steps of the finetuning for all emotions at once.
        own_steps: optimizer steps of each emotion's own, which goes on from there.
        emotions: those that have one; none leaves finetuning out.
        inverted_faces: photographs that finetuning starts from.
        strength: how far up edits go, as a share of the schedule.
        guidance_scale: of edits.
        inversion_guidance: of the way up; None takes the same.
        study_faces: held-out faces.
    """
    if shipped:
        latent = shipped_run("latent_emotion") / WEIGHTS
    else:
        data = SyntheticFacesDataModule(num_train=faces, num_val=64, num_test=8, batch_size=8)
        vq = stage(output / "vq", "fit_vq_synthetic_64.yaml", vq_steps, data)
        options = [f"--model.init_args.autoencoder_weights={vq}"]
        latent = stage(output / "latent", LATENT, latent_steps, None, options)
    if weights is not None:
        write_small_run(load_run(latent, FaceDiffusion), weights / "latent_emotion", LATENT)
    if emotions:
        others = SyntheticFacesDataModule(num_train=faces // 2, num_val=64, num_test=8, batch_size=32, seed=TEACHER)
        teacher = stage(output / "teacher", "fit_recognizer_synthetic_64.yaml", teacher_steps, others)
        inverted = output / "inverted.safetensors"
        if not inverted.is_file():
            invert_emotions(
                str(latent), str(inverted), faces=inverted_faces, steps=STEPS, strength=strength, scenes=True
            )
        given = [f"--model.init_args.strength={strength}", f"--data.init_args.path={inverted}"]
        own = [*given, f"--model.init_args.initial_weights={latent}"]
        common = stage(output / "finetuned" / "all", "fit_paired_finetuning_synthetic_64.yaml", paired_steps, None, own)
        given += [
            f"--model.init_args.chain_steps={CHAIN_STEPS}",
            f"--model.init_args.num_inference_steps={CHAIN_STEPS}",
            f"--model.init_args.initial_weights={common}",
            f"--model.init_args.embedder.init_args.recognizer.init_args.weights={teacher}",
        ]
        for name in emotions:
            label = LABELS.get(name, name)
            own = [*given, f"--model.init_args.target={label}", f"--data.init_args.true_edits={label}"]
            stage(output / "finetuned" / name, "fit_emotion_finetuning_synthetic_64.yaml", own_steps, None, own)
    emotion_study(
        rig=str(latent),
        output=str(output / "study"),
        recognizer="shipped",
        finetuned=str(output / "finetuned") if emotions else None,
        finetuned_steps=CHAIN_STEPS,
        finetuned_guidance=1.0,
        two_stage="shipped",
        encoder=Path("shipped"),
        faces=study_faces,
        steps=STEPS,
        strength=strength,
        guidance_scale=guidance_scale,
        inversion_guidance=inversion_guidance,
    )
    chief, more = (json.loads((output / "study" / f"{n}.json").read_text()) for n in ("emotion", "emotion_more"))
    overall = {name: figure for name, figure in chief["overall"].items() if name != "null_because"}
    systems = {more["settings"]["system"]: overall}
    systems |= {name: rows["overall"] for name, rows in more["systems"].items()}
    write_json(results / "emotion_systems.json", systems)
    for path in (output / "study").iterdir():
        if path.suffix in (".json", ".png"):
            name = path.name if path.name.startswith("emotion") else f"emotion_{path.name}"
            with atomic_path(results / name) as temporary:
                if path.suffix == ".json":  # why figures are null names folders of whoever measured
                    temporary.write_text(path.read_text().replace(str(Path.home()), "~"), encoding="utf-8")
                else:
                    shutil.copyfile(path, temporary)
    print(json.dumps(json.loads((results / "emotion.json").read_text())["overall"], indent=1))


def stage(
    folder: Path, config: str, steps: int, data: SyntheticFacesDataModule | None, options: Sequence[str] = ()
) -> Path:
    """Train one stage, unless its checkpoint is there.

    Args:
        folder: of the run.
        config: shipped config.
        steps: optimizer steps.
        data: photographs that several stages share; None takes the config's.
        options: more of the config's settings.

    Returns:
        The checkpoint; the run's config lies beside it.
    """
    checkpoint = folder / "last.ckpt"
    if checkpoint.is_file():
        return checkpoint
    words = [
        *options,
        f"--trainer.max_steps={steps}",
        f"--trainer.default_root_dir={folder}",
        "--trainer.logger=false",
        "--trainer.enable_model_summary=false",
        "--trainer.check_val_every_n_epoch=4",
    ]
    words.append(f"--model.init_args.lr_scheduler.init_args.total_steps={steps}")
    run = load_experiment(config, words)
    source: L.LightningDataModule = run.data if data is None else data
    run.trainer.fit(run.model, datamodule=source)
    print(config, {name: round(float(value), 4) for name, value in run.trainer.logged_metrics.items()})
    with atomic_path(folder / "config.yaml") as path:
        path.write_text(run.config, encoding="utf-8")
    with atomic_path(checkpoint) as path:
        run.trainer.save_checkpoint(path, weights_only=True)
    return checkpoint


if __name__ == "__main__":
    auto_cli(figures, as_positional=False)
