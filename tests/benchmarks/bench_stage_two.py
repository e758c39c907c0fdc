"""One training step of stage two by each strategy: its time, and the memory that it adds.

The step is forward and backward of `BetaPreservation` as `fit_beta_preservation_synthetic_64.yaml` has it, regularisers
included, without the optimizer. Rig and encoder are untrained, which changes neither figure. Memory is counted block by
block by PyTorch's allocator (`utils.memory.added_memory`), not read off the process: the figures are the same on every
run and machine, and what one strategy has used and freed cannot hide what the next one needs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from diffrig_emo.conditioning import BufferConditioner
from diffrig_emo.diffusion import EditChain, InversionEdit, OneStepEdit, TruncatedEdit
from diffrig_emo.modules import BetaPreservation
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.structures import FaceBatch, face_collate
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.utils.malloc import keep_freed_memory
from diffrig_emo.utils.memory import added_memory
from diffrig_emo.workflows.experiment import load_experiment
from diffrig_emo.workflows.study_parts import quiet

BATCH = 8
CHAINS: dict[str, EditChain] = {
    "one_step": OneStepEdit(),
    "truncated": TruncatedEdit(num_steps=10, last=4),
    "truncated_unchecked": TruncatedEdit(num_steps=10, last=4, checkpointing=False),
    "truncated_last1": TruncatedEdit(num_steps=10, last=1),
    "inversion": InversionEdit(),
}
QUARTER_256 = [
    f"--model.init_args.{name}={value}"
    for name, value in {
        "denoiser.init_args.image_size": 256,
        "denoiser.init_args.patch_size": 1,
        "denoiser.init_args.base_channels": 32,
        "denoiser.init_args.channel_mult": [1, 1, 2, 2, 4, 4],
        "denoiser.init_args.num_res_blocks": 2,
        "denoiser.init_args.attention_resolutions": [16],
        "encoder.init_args.image_size": 224,
    }.items()
]
"""DiffusionRig's network at 256 pixels and a quarter of its width: the same feature maps, a quarter as deep."""


def stage_two(size: int, image_size: int, overrides: Sequence[str] = ()) -> tuple[BetaPreservation, FaceBatch]:
    """The shipped recipe, and a batch of faces."""
    with tempfile.TemporaryDirectory() as folder:
        options = [*quiet(Path(folder), 0, 1), *overrides]
        module = load_experiment("fit_beta_preservation_synthetic_64.yaml", options).model
    assert isinstance(module, BetaPreservation)
    for bridge in module.conditioners:
        if isinstance(bridge, BufferConditioner):
            bridge.renderer = BufferRenderer(image_size)
    module.log = module.log_dict = lambda *args, **kwargs: None  # there is no trainer to tell
    faces = SyntheticFaces(size, image_size)
    return module, face_collate([faces[i] for i in range(size)])


def step(module: BetaPreservation, batch: FaceBatch, chain: EditChain) -> None:
    """Forward and backward; the gradients are made anew, and so are part of what the step adds."""
    module.chain = chain
    module.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    module.training_step(batch, 0).backward()


def memory(module: BetaPreservation, batch: FaceBatch, names: Sequence[str]) -> dict[str, float]:
    """MiB that a step adds, by strategy."""
    step(module, batch, CHAINS["one_step"])  # what is made once and kept
    added = {}
    for name in names:
        module.zero_grad(set_to_none=True)
        added[name] = added_memory(partial(step, module, batch, CHAINS[name])) / 2**20
    return added


def benchmarks() -> dict[str, Callable[[], object] | dict[str, Any]]:
    keep_freed_memory()
    large = memory(*stage_two(1, 256, QUARTER_256), ("one_step", "truncated"))
    alone_module, batch = stage_two(BATCH, 64)
    alone_module.denoising_weight, alone_module.reference = 0.0, None
    alone = memory(alone_module, batch, ("one_step", "truncated"))
    module, batch = stage_two(BATCH, 64)
    added = memory(module, batch, tuple(CHAINS))
    ratios = {
        "truncated_memory_over_one_step": added["truncated"] / added["one_step"],
        "truncated_memory_over_last1": added["truncated"] / added["truncated_last1"],
        "truncated_memory_over_one_step_unregularised": alone["truncated"] / alone["one_step"],
        "truncated_memory_over_one_step_256": large["truncated"] / large["one_step"],
    }
    return {
        **{f"stage_two_{name}_memory": {"value": value, "unit": "MiB"} for name, value in added.items()},
        **{f"stage_two_{name}": {"value": value, "unit": "ratio"} for name, value in ratios.items()},
        **{f"stage_two_{name}_train_step": partial(step, module, batch, chain) for name, chain in CHAINS.items()},
    }
