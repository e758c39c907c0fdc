"""DECA and EMOCA: milliseconds per face, and throughput over that of torchvision's bare ResNet-50.

EMOCA runs two ResNets, so it is compared with two. Weights are random: no licensed file is needed.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models import resnet50

from diffrig_emo.morphable import DECA, EMOCA
from diffrig_emo.structures import FaceCrop

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.parity.fake_assets import write_fake_deca, write_fake_emoca

ROUNDS = 5


def encoders() -> tuple[DECA, EMOCA]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_fake_emoca(folder / "model", small=True)
        return DECA(write_fake_deca(folder, small=True)), EMOCA(folder / "model")


def bare(networks: int) -> Callable[[Tensor], object]:
    """As many ResNet-50 as torchvision makes them, without classifier."""
    trunks = [resnet50(weights=None).eval() for _ in range(networks)]
    for trunk in trunks:
        trunk.fc = torch.nn.Identity()
    return lambda image: [trunk(image) for trunk in trunks]


@torch.no_grad()
def compare(runs: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Milliseconds of each in turn, so that whatever else the machine does meets all."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(ROUNDS + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if round_number > 0:  # the first only warms up
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def benchmarks() -> dict[str, Any]:
    deca, emoca = encoders()
    one, two = bare(1), bare(2)
    figures: dict[str, Any] = {}
    for batch in (1, 16):
        image = torch.rand(batch, 3, 224, 224)
        crop = FaceCrop(image=image)
        pairs = {
            "deca": (lambda crop=crop: deca(crop), lambda image=image: one(image)),
            "emoca_encode_both": (lambda crop=crop: emoca.encode_both(crop), lambda image=image: two(image)),
        }
        for name, (ours, theirs) in pairs.items():
            times = compare({"ours": ours, "bare": theirs})
            ratio = statistics.median(b / o for o, b in zip(times["ours"], times["bare"], strict=True))
            figures |= {
                f"{name}_batch{batch}_per_face": {"value": min(times["ours"]) / batch, "unit": "ms"},
                f"{name}_batch{batch}_over_bare_resnet50": {"value": ratio, "unit": "x throughput"},
            }
    return figures
