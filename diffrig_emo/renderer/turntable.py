"""A face on a turntable."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from diffrig_emo.renderer.buffers import BufferRenderer
from diffrig_emo.renderer.fragments import Rasterizer
from diffrig_emo.structures import FaceCodes, FaceMesh, MeshTopology

_FILLED = 0.94
"""Of the picture's side, by the largest extent of the turning head."""
_SUPERSAMPLE = 2


@torch.no_grad()
def turntable(
    vertices: Float[Tensor, "batch n_vertices 3"],
    topology: MeshTopology,
    albedo: Float[Tensor, "batch 3 uv_size uv_size"],
    light: Float[Tensor, "batch 9 3"],
    *,
    num_frames: int = 60,
    size: int = 256,
    background: float = 1.0,
    rasterizer: Rasterizer | None = None,
) -> Iterator[Float[Tensor, "batch 3 size size"]]:
    """Turn heads once about their vertical axis, under a light that stands still.

    One camera frames all heads of the batch, so that differences between them show.

    Args:
        vertices: heads, world metres, looking along +z at the start.
        topology: faces and texture coordinates.
        albedo: textures, RGB about [0, 1].
        light: spherical-harmonics coefficients (`FaceCodes.light`).
        num_frames: pictures of the full turn, the first from the front; after the last comes the first again.
        size: side of the pictures in pixels.
        background: grey around the head, 0 to 1.
        rasterizer: backend; None is `TorchRasterizer()`.

    Yields:
        RGB in [0, 1], one picture per head, turning to the subject's left.

    Raises:
        ValueError: when a number is not positive.

    Example:
        >>> from diffrig_emo.structures.codes import EVEN_LIGHT
        >>> corners = torch.tensor([[0, 1, 2]])
        >>> flat = MeshTopology(faces=corners, uvs=torch.tensor([[0.0, 0], [1, 0], [0, 1]]), uv_faces=corners)
        >>> wing = torch.tensor([[[0.0, 0, 0], [0.1, 0, 0.05], [0, 0.1, 0]]])
        >>> light = torch.zeros(1, 9, 3)
        >>> light[:, 0] = EVEN_LIGHT
        >>> frames = list(turntable(wing, flat, torch.zeros(1, 3, 2, 2), light, num_frames=4, size=16))
        >>> len(frames), frames[0].shape, frames[0].min() < 0.1 and frames[0].max() == 1
        (4, torch.Size([1, 3, 16, 16]), tensor(True))
    """
    if num_frames < 1 or size < 1:
        raise ValueError(f"turntable: expected positive numbers, got num_frames={num_frames}, size={size}")
    low, high = vertices.flatten(0, 1).aminmax(dim=0)
    centred = vertices - (low + high) / 2
    radius = torch.maximum(centred[..., ::2].norm(dim=2).max(), centred[..., 1].abs().max())
    codes = FaceCodes.zeros(len(vertices), n_shape=1, n_tex=1, n_exp=1, space="turntable", device=vertices.device)
    cam = codes.cam.new_tensor([[_FILLED / float(radius), 0, 0]]).expand(len(vertices), 3)
    codes = codes.replace(cam=cam, light=light.to(codes.light))
    landmarks = centred.new_zeros(len(vertices), 68, 3)
    # The renderer fades to black at the map's very border, where the back of the head may have its seam.
    border, side = 2, albedo.shape[-1]
    albedo = pad(albedo, (border,) * 4, mode="replicate")
    topology = dataclasses.replace(topology, uvs=(topology.uvs * side + border) / (side + 2 * border))
    renderer = BufferRenderer(_SUPERSAMPLE * size, rasterizer)
    for number in range(num_frames):
        angle = 2 * math.pi * number / num_frames
        cos, sin = math.cos(angle), math.sin(angle)
        turn = centred.new_tensor([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])  # for row vectors: z goes to +x
        mesh = FaceMesh(vertices=centred @ turn, landmarks2d=landmarks, landmarks3d=landmarks)
        buffers = renderer(mesh, topology, albedo, codes)
        yield avg_pool2d(buffers.rendered.clamp(0, 1) + background * (1 - buffers.mask), _SUPERSAMPLE)
