"""Rasterize and shade a UV sphere that fills three quarters of the picture, beside pytorch3d where it is installed."""

from __future__ import annotations

import importlib.util
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

N_FACES = 9976
"""As many as FLAME has."""
FILL = 0.75
CAMERA_SCALE = 8.0


def uv_sphere(n_faces: int) -> tuple[Tensor, Tensor, Tensor]:
    """Unit sphere of exactly `n_faces` triangles (an even number), poles up and down.

    Returns:
        Vertices (V, 3), faces (F, 3) counter-clockwise from outside, and texture coordinates of the vertices (V, 2).
    """
    half = n_faces // 2
    divisors = [n for n in range(3, half + 1) if half % n == 0]
    segments = min(divisors, key=lambda n: abs(n - 2 * (half // n + 1)))
    bands = half // segments + 1
    theta = torch.arange(1, bands, dtype=torch.float64)[:, None] * (math.pi / bands)
    phi = torch.arange(segments, dtype=torch.float64) * (2 * math.pi / segments)
    rings = torch.stack([theta.sin() * phi.sin(), theta.cos().expand(-1, segments), theta.sin() * phi.cos()], dim=-1)
    poles = torch.tensor([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]], dtype=torch.float64)
    vertices = torch.cat([rings.flatten(0, 1), poles])
    here = torch.arange((bands - 1) * segments).view(bands - 1, segments)
    there = here.roll(-1, 1)
    a, b, c, d = here[:-1], here[1:], there[1:], there[:-1]
    top, bottom = torch.full_like(here[0], len(vertices) - 2), torch.full_like(here[0], len(vertices) - 1)
    triangles = [
        torch.stack([top, here[0], there[0]], dim=-1),
        torch.stack([a, b, c], dim=-1).flatten(0, 1),
        torch.stack([a, c, d], dim=-1).flatten(0, 1),
        torch.stack([here[-1], bottom, there[-1]], dim=-1),
    ]
    turn = torch.atan2(vertices[:, 0], vertices[:, 2]) / (2 * math.pi) + 0.5
    uvs = torch.stack([turn, 1 - vertices[:, 1].clamp(-1, 1).acos() / math.pi], dim=1)
    return vertices.float(), torch.cat(triangles), uvs.float()


def benchmarks() -> dict[str, Callable[[], object] | dict[str, Any]]:
    figures: dict[str, Callable[[], object] | dict[str, Any]] = {}
    for batch in (1, 4, 16):
        run = renderer(256, batch)
        figures[f"render_256_batch{batch}_per_image"] = {"value": _best_ms(run) / batch, "unit": "ms"}
        figures[f"render_256_batch{batch}"] = run
    figures["render_64_batch16_per_image"] = {"value": _best_ms(renderer(64, 16)) / 16, "unit": "ms"}
    if importlib.util.find_spec("pytorch3d") is not None:
        for batch, threads in ((1, 1), (1, torch.get_num_threads()), (4, torch.get_num_threads())):
            name = f"pytorch3d_cpu_over_ours_256_batch{batch}_threads{threads}"
            figures[name] = {"value": pytorch3d_ratio(batch, threads), "unit": "times faster"}
    return figures


def renderer(size: int, batch: int) -> Callable[[], object]:
    """A call that renders `batch` spheres, projection to buffers."""
    from diffrig_emo.renderer import BufferRenderer
    from diffrig_emo.structures import FaceCodes, FaceMesh, MeshTopology

    vertices, faces, uvs = uv_sphere(N_FACES)
    landmarks = torch.zeros(batch, 68, 3)
    placed = (vertices * (FILL / CAMERA_SCALE)).repeat(batch, 1, 1)
    mesh = FaceMesh(vertices=placed, landmarks2d=landmarks, landmarks3d=landmarks)
    topology = MeshTopology(faces=faces, uvs=uvs, uv_faces=faces)
    albedo = torch.rand(batch, 3, 256, 256)
    codes = FaceCodes.zeros(batch, n_shape=1, n_tex=1, n_exp=1, space="benchmark")
    render = BufferRenderer(size)

    @torch.no_grad()
    def run() -> object:
        return render(mesh, topology, albedo, codes)

    return run


def pytorch3d_ratio(batch: int, threads: int) -> float:
    """Time of pytorch3d's rasterizer alone over ours with shading, 256 x 256."""
    from diffrig_emo.renderer import Pytorch3dRasterizer

    vertices, faces, _ = uv_sphere(N_FACES)
    screen = (vertices * torch.tensor([FILL, -FILL, -FILL])).repeat(batch, 1, 1)
    theirs = Pytorch3dRasterizer()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _best_ms(lambda: theirs(screen, faces, (256, 256)), calls=2) / _best_ms(renderer(256, batch))
    finally:
        torch.set_num_threads(before)


def _best_ms(run: Callable[[], object], calls: int = 3, seconds: float = 2.0) -> float:
    """Best wall time of a call in milliseconds, after one warm-up; at least `calls`, for at least `seconds`."""
    run()
    times: list[float] = []
    while len(times) < calls or sum(times) < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)
