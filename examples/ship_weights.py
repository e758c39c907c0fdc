"""Make the small rig, encoder and recogniser that come with the package, and measure them.

    python examples/ship_weights.py --cache study/cache

Everything learns from synthetic faces: the study's guide and recogniser, the study's stage one four times as long, then
stage two by `fit_beta_preservation_synthetic_64.yaml`, of which `SHARE` is taken over; about an hour and a half on two
CPU cores. What lies in the cache is not made again; guide and recogniser may be those of `diffrig-emo study`, but not
its `stage_one.ckpt`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from jsonargparse import auto_cli

from diffrig_emo.conditioning import BufferConditioner
from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.checkpoints import read_checkpoint
from diffrig_emo.io.json_files import write_json
from diffrig_emo.modules import FaceDiffusion, FaceEncoder
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.workflows.edit_evaluation import EditJudge, edit_scores
from diffrig_emo.workflows.experiment import load_experiment
from diffrig_emo.workflows.shipped import shipped_encoder, shipped_rig, write_small_run
from diffrig_emo.workflows.study import aggregate
from diffrig_emo.workflows.study_parts import PartSizes, guide_part, quiet, recognizer_part, rig_part

ROOT = Path(__file__).parents[1]
SPACING = "--model.init_args.spacing=diffrig_emo.diffusion.log_snr_timesteps"  # keeps 0.6 dB more of the face
SHARE = 0.3
"""How far the weights go from stage one to stage two (Wortsman et al. 2022, "Robust fine-tuning"): all the way, a rig
forgets how to paint from noise, and loses 0.3 dB of its edits; chosen on other people than are measured."""
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
    rig_steps: int = 8000,
    train_faces: int = 6000,
    seeds: int = 3,
    faces: int = 32,
) -> None:
    """Train what is missing, write the weights, measure them as they were written.

    Args:
        cache: folder of checkpoints.
        output: folder for the weights.
        figures: file for {picture: {metric: {mean, std, n}}} of expression edits: photo in, photo out, all codes read.
        rig_steps: optimizer steps of stage one.
        train_faces: photographs that stage one learns from.
        seeds: how many sets of held-out people are measured.
        faces: people in each.
    """
    sizes = PartSizes(rig_steps=rig_steps, train_faces=train_faces)
    guide, recognizer, stage_one = guide_part(cache, sizes), recognizer_part(cache, sizes), rig_part(cache, sizes)
    encoder = load_experiment("fit_encoder_synthetic_64.yaml", ENCODER).model
    assert isinstance(encoder, FaceEncoder)
    encoder.encoder.load_state_dict(guide.state_dict())
    rig = stage_two(cache, stage_one, cache / "guide.ckpt")
    written = {
        "encoder": write_small_run(encoder, output / "encoder", "fit_encoder_synthetic_64.yaml", ENCODER),
        "recognizer": write_small_run(recognizer, output / "recognizer", "fit_recognizer_synthetic_64.yaml"),
        "rig": write_small_run(rig, output / "rig", "fit_synthetic_64.yaml", [SPACING]),
    }
    print(", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in written.items()))
    table = aggregate([measure(MEASURED + seed, faces) for seed in range(seeds)])
    write_json(figures, table)
    print(json.dumps(table, indent=2))


def stage_two(cache: Path, stage_one: Path, guide: Path) -> FaceDiffusion:
    """The rig after stage one and a share of stage two."""
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
    earlier = read_checkpoint(stage_one)["state_dict"]
    weights = rig.state_dict()
    for name, value in weights.items():
        value.copy_(torch.lerp(earlier[name], trained[name], SHARE) if value.is_floating_point() else earlier[name])
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
