"""Make the small rig, encoder and recogniser that come with the package, and measure them.

    python examples/ship_weights.py --cache study/cache

Everything learns from synthetic faces: the study's guide, recogniser and stage one, then stage two by
`fit_beta_preservation_synthetic_64.yaml`; about an hour on two CPU cores. What lies in the cache is not made again.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from jsonargparse import auto_cli

from diffrig_emo.conditioning import BufferConditioner
from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.checkpoints import read_checkpoint
from diffrig_emo.modules import FaceDiffusion, FaceEncoder
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.workflows.edit_evaluation import EditJudge, edit_scores
from diffrig_emo.workflows.experiment import load_experiment
from diffrig_emo.workflows.shipped import shipped_encoder, shipped_rig, write_small_run
from diffrig_emo.workflows.study import aggregate
from diffrig_emo.workflows.study_parts import PartSizes, quiet, study_parts

ROOT = Path(__file__).parents[1]
MEASURED = 700  # seeds of SyntheticFaces from here on: no training meets these people
ENCODER = [
    "--model.init_args.encoder=diffrig_emo.morphable.DescentEncoder",
    "--model.init_args.encoder.init_args.face_model=diffrig_emo.morphable.SyntheticHead",
    "--model.init_args.encoder.init_args.features=diffrig_emo.morphable.OrientedGradients",
    f"--model.init_args.encoder.init_args.n_points={PartSizes.guide_points}",
]


def ship(
    cache: Path,
    output: Path = ROOT / "diffrig_emo" / "weights",
    figures: Path = ROOT / "docs" / "results" / "shipped.json",
    seeds: int = 3,
    faces: int = 32,
) -> None:
    """Train what is missing, write the weights, measure them as they were written.

    Args:
        cache: folder of checkpoints, shared with `diffrig-emo study`.
        output: folder for the weights.
        figures: file for {picture: {metric: {mean, std, n}}} of expression edits: photo in, photo out, all codes read.
        seeds: how many sets of held-out people are measured.
        faces: people in each.
    """
    parts = study_parts(cache, PartSizes())
    encoder = load_experiment("fit_encoder_synthetic_64.yaml", ENCODER).model
    assert isinstance(encoder, FaceEncoder)
    encoder.encoder.load_state_dict(parts.guide.state_dict())
    rig = stage_two(cache, parts.rig, parts.guide_path)
    sizes = {
        "encoder": write_small_run(encoder, output / "encoder", "fit_encoder_synthetic_64.yaml", ENCODER),
        "recognizer": write_small_run(parts.recognizer, output / "recognizer", "fit_recognizer_synthetic_64.yaml"),
        "rig": write_small_run(rig, output / "rig", "fit_synthetic_64.yaml"),
    }
    print(", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in sizes.items()))
    table = aggregate([measure(MEASURED + seed, faces) for seed in range(seeds)])
    with atomic_path(figures) as path:
        path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(table, indent=2))


def stage_two(cache: Path, stage_one: Path, guide: Path) -> FaceDiffusion:
    """The rig after stage two."""
    path = cache / "stage_two.ckpt"
    if not path.is_file():
        options = [*quiet(cache, 0, 200, average=0.95), f"--model.init_args.initial_weights={stage_one}"]
        options.append(f"--model.init_args.encoder_weights={guide}")
        run = load_experiment("fit_beta_preservation_synthetic_64.yaml", options)
        run.trainer.fit(run.model, datamodule=run.data)
        with atomic_path(path) as temporary:
            run.trainer.save_checkpoint(temporary, weights_only=True)
    rig = load_experiment("fit_synthetic_64.yaml").model
    assert isinstance(rig, FaceDiffusion)
    trained = read_checkpoint(path)["state_dict"]
    rig.load_state_dict({name: trained[name] for name in rig.state_dict()})
    return rig


@torch.no_grad()
def measure(seed: int, faces: int) -> dict[str, dict[str, float]]:
    """PSNR to the true expression edit, of the edits and of what they must beat, in dB."""
    rig, encoder = shipped_rig(), shipped_encoder()
    bridge = next(c for c in rig.conditioners if isinstance(c, BufferConditioner))
    judge = EditJudge(SyntheticFaces(faces, bridge.renderer.size[0], seed), bridge)
    codes = encoder.encode(judge.batch)
    edited = judge.run(rig, "expression", codes)
    scores = edit_scores(edited, judge.baselines(rig, edited, codes))
    table: dict[str, dict[str, float]] = {}
    for name, value in scores.items():
        for region in ("changed", "face"):
            if name.startswith(f"psnr_{region}_"):
                table.setdefault(name.removeprefix(f"psnr_{region}_"), {})[f"psnr_{region}"] = value
    table["edit"] |= {"psnr_face": scores["psnr_face"], "psnr_rest": scores["psnr_rest"], "ssim": scores["ssim"]}
    return table


if __name__ == "__main__":
    auto_cli(ship, as_positional=False)
