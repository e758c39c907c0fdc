"""Make the small diffusion autoencoder that comes with the package, its prior and its classifier, and measure them.

    python examples/ship_diffae.py --cache study/diffae

Everything learns from synthetic faces. What lies in the cache is not made again, and a training that was killed goes on
where it was.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from jsonargparse import auto_cli

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.json_files import write_json
from diffrig_emo.modules import FaceDiffusion, LatentPrior, SemanticClassifier
from diffrig_emo.perception import LPIPSNetwork
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.utils.assets import AssetNotFoundError
from diffrig_emo.workflows.autoencoder import load_autoencoder
from diffrig_emo.workflows.experiment import load_experiment
from diffrig_emo.workflows.load import load_run
from diffrig_emo.workflows.reconstruction import reconstruction_scores
from diffrig_emo.workflows.shipped import write_small_run

ROOT = Path(__file__).parents[1]
MEASURED = 720
"""Seed of the `SyntheticFaces` that are measured: no training meets these people."""
STEPS = (10, 20, 50, 100)
STARTS: dict[Literal["inverted", "noise"], str] = {"inverted": "encoded x_T", "noise": "random x_T"}
PUBLISHED: dict[str, dict[int, tuple[float, float, float]]] = {
    "inverted": {10: (0.827, 0.001, 0.078), 20: (0.927, 0.001, 0.050), 100: (0.991, 6.07e-5, 0.011)},
    "noise": {
        10: (0.707, 0.006, 0.085),
        20: (0.695, 0.007, 0.078),
        50: (0.683, 0.007, 0.074),
        100: (0.677, 0.007, 0.073),
    },
}
"""SSIM, MSE and LPIPS of Preechakul et al. (2022): FFHQ at 128 pixels, measured on CelebA-HQ."""


def ship(
    cache: Path,
    output: Path = ROOT / "diffrig_emo" / "weights",
    figures: Path = ROOT / "docs" / "results" / "diffae.json",
    steps: int = 8000,
    code_steps: int | None = None,
    faces: int = 64,
) -> None:
    """Train what is missing, write the weights, measure them as they were written.

    Args:
        cache: folder of checkpoints.
        output: folder for the weights.
        figures: file for {start and T: {metric: figure}}, the published ones beside ours.
        steps: training steps of the autoencoder.
        code_steps: training steps of prior and classifier; None keeps their configs'.
        faces: how many people are measured.
    """
    length = [f"--model.init_args.lr_scheduler.init_args.total_steps={steps}"]
    autoencoder = trained(cache / "diffae", "fit_diffae_synthetic_64.yaml", steps, length)
    weights = [f"--data.init_args.encoder_weights={autoencoder}"]
    parts = {
        "diffae": (autoencoder, FaceDiffusion, "fit_diffae_synthetic_64.yaml"),
        **{
            name: (trained(cache / name, config, code_steps, weights), kind, config)
            for name, kind, config in (
                ("diffae_prior", LatentPrior, "fit_diffae_prior_synthetic_64.yaml"),
                ("diffae_classifier", SemanticClassifier, "fit_diffae_classifier_synthetic_64.yaml"),
            )
        },
    }
    for name, (checkpoint, kind, config) in parts.items():
        size = write_small_run(load_run(checkpoint, kind), output / name, config)
        print(f"{name}: {size / 1e6:.2f} MB")
    table = measure(output / "diffae", faces)
    write_json(figures, table)
    print(json.dumps(table, indent=2))


def trained(folder: Path, config: str, steps: int | None, options: list[str]) -> Path:
    """The last checkpoint of a run, trained if it is not there yet."""
    done = folder / "done.ckpt"
    if not done.is_file():
        own = [f"--trainer.default_root_dir={folder}", "--trainer.logger=false", "--trainer.enable_progress_bar=false"]
        own += [] if steps is None else [f"--trainer.max_steps={steps}"]
        run = load_experiment(config, [*options, *own])
        last = folder / "checkpoints" / "last.ckpt"
        earlier = last if last.is_file() else None
        run.trainer.fit(run.model, datamodule=run.data, ckpt_path=earlier, weights_only=True)
        print({name: round(float(value), 4) for name, value in run.trainer.callback_metrics.items()})
        with atomic_path(folder / "config.yaml") as path:
            path.write_text(run.config, encoding="utf-8")
        with atomic_path(done) as path:
            run.trainer.save_checkpoint(path, weights_only=True)
    return done


def measure(weights: Path, faces: int) -> dict[str, dict[str, Any]]:
    """The reconstruction table of the written model, and the published figures."""
    autoencoder = load_autoencoder(weights)
    images = next(SyntheticFaces(faces, autoencoder.image_size, MEASURED).batches(faces))["image"]
    try:
        network = LPIPSNetwork().to(autoencoder.device)
    except AssetNotFoundError:
        network = None  # its trunk is not at hand
    table: dict[str, dict[str, Any]] = {}
    for start, label in STARTS.items():
        for steps in STEPS:
            scores = reconstruction_scores(autoencoder, images, steps, start, network)
            row = table[f"{label}, T = {steps}"] = {name: float(value.mean()) for name, value in scores.items()}
            if steps in PUBLISHED[start]:
                names = ("published_ssim", "published_mse", "published_lpips")
                row |= dict(zip(names, PUBLISHED[start][steps], strict=True))
    return table


if __name__ == "__main__":
    auto_cli(ship, as_positional=False)
