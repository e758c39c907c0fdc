"""The conditioned UNet: forward and training step at DiffusionRig's 256 config, and a ddim-20 edit at 64 pixels."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from diffrig_emo.diffusion import (
    ConditionedUNet,
    CosineSchedule,
    LinearSchedule,
    VectorModulation,
    ddim_invert,
    ddim_sample,
    even_timesteps,
)
from diffrig_emo.losses import P2Weighting
from diffrig_emo.losses.functional import denoising_loss
from diffrig_emo.structures import Conditioning
from diffrig_emo.utils.malloc import keep_freed_memory

ROUNDS = 4
LEAVES = (nn.Conv2d, nn.Linear, nn.GroupNorm)


def unet_256() -> ConditionedUNet:
    return ConditionedUNet(
        spatial_channels=9,
        vectors=[VectorModulation("global", 64)],
        image_size=256,
        base_channels=128,
        channel_mult=(1, 1, 2, 2, 4, 4),
        attention_resolutions=(16,),
    )


def unet_64() -> ConditionedUNet:
    """The demo's denoiser."""
    return ConditionedUNet(
        spatial_channels=9,
        vectors=[VectorModulation("global", 64)],
        image_size=64,
        patch_size=2,
        base_channels=32,
        channel_mult=(1, 2, 3),
        num_res_blocks=1,
        attention_resolutions=(8,),
    )


def inputs(batch: int, size: int) -> tuple[Tensor, Tensor, Conditioning]:
    conditioning = Conditioning(spatial=torch.randn(batch, 9, size, size), vectors={"global": torch.randn(batch, 64)})
    return torch.randn(batch, 3, size, size), torch.full((batch,), 500), conditioning


def parts_of(unet: nn.Module, arguments: tuple[Any, ...]) -> list[Callable[[], object]]:
    """Every convolution, matmul and norm of one forward pass, ready to run alone on the inputs that it saw there."""
    calls: list[Callable[[], object]] = []

    def record(module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        # Kept inputs may be overwritten in place later on: only their sizes and layout matter here.
        calls.append(lambda: module(*args))

    attend = F.scaled_dot_product_attention

    def recording_attend(*args: Tensor) -> Tensor:
        calls.append(lambda: attend(*args))
        return attend(*args)

    handles = [m.register_forward_hook(record) for m in unet.modules() if isinstance(m, LEAVES)]
    F.scaled_dot_product_attention = recording_attend
    try:
        unet(*arguments)
    finally:
        F.scaled_dot_product_attention = attend
        for handle in handles:
            handle.remove()
    return calls


@torch.no_grad()
def forward_256() -> dict[str, dict[str, Any]]:
    """The forward pass and its parts, first as the system allocates memory, then with freed memory kept."""
    unet, arguments = unet_256().eval(), inputs(1, 256)
    parts = parts_of(unet, arguments)
    figures = {f"{name}_system_malloc": figure for name, figure in compare(unet, arguments, parts).items()}
    keep_freed_memory()
    return compare(unet, arguments, parts) | figures


def compare(
    unet: nn.Module, arguments: tuple[Any, ...], parts: list[Callable[[], object]]
) -> dict[str, dict[str, Any]]:
    """Whole and parts in turn, so that whatever else the machine does meets both."""
    whole_times, parts_times = [], []
    for round_number in range(ROUNDS + 1):
        start = time.perf_counter()
        unet(*arguments)
        between = time.perf_counter()
        for part in parts:
            part()
        end = time.perf_counter()
        if round_number > 0:  # the first only warms up
            whole_times.append(between - start)
            parts_times.append(end - between)
    ratio = statistics.median(w / p for w, p in zip(whole_times, parts_times, strict=True))
    return {
        "unet256_forward": {"value": 1000 * statistics.median(whole_times), "unit": "ms"},
        "unet256_parts_alone": {"value": 1000 * statistics.median(parts_times), "unit": "ms"},
        "unet256_forward_over_parts": {"value": ratio, "unit": "ratio"},
    }


def training(build: Callable[[], ConditionedUNet], batch: int, size: int) -> Callable[[], None]:
    """One step of Adam on the p2-weighted epsilon loss."""
    schedule, weighting = LinearSchedule(), P2Weighting()

    @cache
    def parts() -> tuple[ConditionedUNet, torch.optim.Optimizer]:
        unet = build()
        return unet, torch.optim.Adam(unet.parameters(), lr=1e-4)

    def step() -> None:
        unet, optimizer = parts()
        x_0, t, conditioning = inputs(batch, size)
        eps = torch.randn_like(x_0)
        prediction = unet(schedule.add_noise(x_0, eps, t), t, conditioning)
        denoising_loss(prediction, eps, weighting(schedule.snr(t), "eps")).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def edit_64() -> Callable[[], None]:
    """Invert one face in 20 DDIM steps and paint it again in 20."""
    unet, schedule, grid = unet_64().eval(), CosineSchedule(), even_timesteps(20)
    x_0, _, conditioning = inputs(1, 64)

    def denoiser(x_t: Tensor, t: Tensor) -> Tensor:
        prediction: Tensor = unet(x_t, t, conditioning)
        return prediction

    @torch.no_grad()
    def edit() -> None:
        x_T = ddim_invert(denoiser, x_0, schedule, grid, prediction_type="v")
        ddim_sample(denoiser, x_T, schedule, grid, prediction_type="v")

    return edit


def benchmarks() -> dict[str, Any]:
    return {
        **forward_256(),
        "unet64_train_step_batch16": training(unet_64, 16, 64),
        "unet64_ddim20_edit": edit_64(),
        "unet256_train_step_batch1": training(unet_256, 1, 256),
    }
