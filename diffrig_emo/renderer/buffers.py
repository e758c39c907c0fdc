"""Mesh, albedo and codes to the physical buffers that condition the denoiser."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffrig_emo.renderer.fragments import Rasterizer
from diffrig_emo.renderer.interpolate import interpolate, vertex_normals
from diffrig_emo.renderer.lighting import sh_shading
from diffrig_emo.renderer.torch_rasterizer import TorchRasterizer
from diffrig_emo.renderer.uv_space import texture_coordinates
from diffrig_emo.structures import FaceCodes, FaceMesh, MeshTopology, PhysicalBuffers
from diffrig_emo.transforms.projection import crop_to_aligned, project


class BufferRenderer(nn.Module):
    """Render faces to the buffers of DiffusionRig (Ding et al., CVPR 2023, section 3.1).

    Albedo, world normals, and albedo times spherical-harmonics shading, of the whole surface. Everything is
    differentiable, except which face wins a pixel: gradients reach the vertices (through shading, normals and
    barycentrics), `cam`, `light` and the albedo map. It has no parameters.

    Args:
        image_size: side, or (height, width), of the buffers in pixels.
        rasterizer: backend; None is `TorchRasterizer()`.
        crop_size: side in pixels of the encoder's crop, to which `codes.cam` and `codes.tform` belong.

    Example:
        >>> topology = MeshTopology(
        ...     faces=torch.tensor([[0, 1, 2]]), uvs=torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]),
        ...     uv_faces=torch.tensor([[0, 1, 2]]),
        ... )
        >>> landmarks = torch.zeros(1, 68, 3)
        >>> corners = torch.tensor([[[-0.1, -0.1, 0.0], [0.1, -0.1, 0.0], [-0.1, 0.1, 0.0]]])
        >>> mesh = FaceMesh(vertices=corners, landmarks2d=landmarks, landmarks3d=landmarks)
        >>> codes = FaceCodes.zeros(1, n_shape=1, n_tex=1, n_exp=1, space="example")
        >>> buffers = BufferRenderer(8)(mesh, topology, torch.ones(1, 3, 4, 4), codes)
        >>> buffers.as_condition().shape, int(buffers.mask.sum())
        (torch.Size([1, 9, 8, 8]), 15)
    """

    def __init__(
        self, image_size: int | tuple[int, int], rasterizer: Rasterizer | None = None, crop_size: int = 224
    ) -> None:
        super().__init__()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if min(height, width, crop_size) < 1:
            raise ValueError(f"expected positive sizes in pixels, got image_size={image_size}, crop_size={crop_size}")
        self.size = (int(height), int(width))
        self.rasterizer = TorchRasterizer() if rasterizer is None else rasterizer
        self.crop_size = crop_size

    def forward(
        self,
        mesh: FaceMesh,
        topology: MeshTopology,
        albedo: Float[Tensor, "batch 3 uv_size uv_size"],
        codes: FaceCodes,
    ) -> PhysicalBuffers:
        """Render a batch of faces.

        Args:
            mesh: posed faces, world metres. They are projected with `codes.cam`, and from there to the aligned picture
                when `codes.tform` is given; `mesh.screen` is not used.
            topology: faces and texture coordinates.
            albedo: texture, RGB about [0, 1]; row 0 lies at v = 1.
            codes: `cam`, `tform` and `light` are used.

        Returns:
            Raw buffers of `image_size`: never clamped, 0 outside the mesh.

        Raises:
            ValueError: when batch sizes differ, when the topology is another model's, or when an item of the batch
                covers no pixel.
        """
        _check_batch(mesh, albedo, codes)
        with torch.autocast(mesh.vertices.device.type, enabled=False):
            screen = project(mesh.vertices, codes.cam)
            if codes.tform is not None:
                screen = crop_to_aligned(screen, codes.tform, self.crop_size, self.size)
            step = self._items_at_once(screen)
            per_item = (screen, mesh.vertices, albedo.to(screen.dtype), codes.light.to(screen.dtype))
            groups = zip(*(torch.split(tensor, step) for tensor in per_item), strict=True)
            parts = [self._render(topology, *group) for group in groups]
            buffers = parts[0] if len(parts) == 1 else PhysicalBuffers.cat(parts)
            _check_in_view(buffers.mask, screen)
        return buffers

    def _items_at_once(self, screen: Tensor) -> int:
        """On a CPU, as many pictures as its cache holds: larger groups take longer per picture."""
        return len(screen) if screen.device.type != "cpu" else max(1, 2**18 // (self.size[0] * self.size[1]))

    def _render(
        self, topology: MeshTopology, screen: Tensor, vertices: Tensor, albedo: Tensor, light: Tensor
    ) -> PhysicalBuffers:
        fragments = self.rasterizer(screen, topology.faces, self.size)
        mask = (fragments.pix_to_face >= 0).unsqueeze(1).to(screen.dtype)
        uvs = texture_coordinates(topology.uvs.to(screen.dtype))
        normals = vertex_normals(vertices, topology.faces)
        grid, normal = interpolate(fragments, (uvs, topology.uv_faces), (normals, topology.faces))
        texels = functional.grid_sample(albedo, grid.permute(0, 2, 3, 1), align_corners=False) * mask
        return PhysicalBuffers(rendered=texels * sh_shading(normal, light), normal=normal, albedo=texels, mask=mask)


def _check_batch(mesh: FaceMesh, albedo: Tensor, codes: FaceCodes) -> None:
    if albedo.ndim != 4 or albedo.shape[1] != 3:
        raise ValueError(f"albedo: expected shape (batch, 3, uv_size, uv_size), got {tuple(albedo.shape)}")
    if not mesh.batch_size == len(albedo) == codes.batch_size:
        raise ValueError(
            f"expected one batch size, got mesh {mesh.batch_size}, albedo {len(albedo)}, codes {codes.batch_size}"
        )


def _check_in_view(mask: Tensor, screen: Tensor) -> None:
    seen = mask.flatten(1).amax(1) > 0
    if seen.all():
        return
    item = int((~seen).nonzero()[0])
    low, high = (limit.tolist() for limit in screen[item].detach().aminmax(dim=0))
    extent = ", ".join(f"{axis} {a:.3g} to {b:.3g}" for axis, a, b in zip("xyz", low, high, strict=True))
    raise ValueError(
        f"mesh: expected every face in view, but item {item} of {len(seen)} covers no pixel: on the screen it spans "
        f"{extent}, while the picture is x and y -1 to 1 and the camera's plane z = -10 (smaller z is nearer). "
        "Check cam (s, tx, ty), tform and translation of that item's codes, or drop it."
    )
