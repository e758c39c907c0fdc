"""The texture of a face from its photograph: what the camera saw, and a guess of what it did not see."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from diffrig_emo.renderer.fragments import Rasterizer
from diffrig_emo.renderer.interpolate import vertex_normals
from diffrig_emo.renderer.lighting import sh_shading
from diffrig_emo.renderer.torch_rasterizer import TorchRasterizer
from diffrig_emo.renderer.uv_space import resample_to_uv
from diffrig_emo.structures import FaceCodes, FaceMesh, MeshTopology
from diffrig_emo.structures.base import TensorStruct
from diffrig_emo.transforms.projection import crop_to_aligned, project

_DEPTH_BIAS = 0.004
"""Metres: what lies less than this behind the nearest surface is that surface."""
_FACING = (0.15, 0.45)
"""Cosine between normal and view: from no trust in the photograph to full trust."""
_LEAST_SHADING = 0.15
"""In deeper shadow, dividing by the shading would show noise."""
_BURNT = (0.88, 0.98)
"""Brightest channel: from where on a colour has lost its hue, so that it tells nothing about other light."""
_SEAM = 1 / 96
"""Width of the seam around what is not seen, of the map's side."""
_TONE_CELLS = 64
"""Cells along the map in which colours are compared."""
_TONE_PRIOR = 0.02
"""Weight of the whole face's colours against those of the neighbourhood."""
_MARGIN = 1 / 64
"""How far colours reach over the border of the surface, of the map's side."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PhotoTexture(TensorStruct):
    """Textures made of photographs. Row 0 lies at v = 1."""

    lit: Float[Tensor, "batch 3 uv_size uv_size"]
    """The photograph's colours, light and all, RGB; about [0, 1], not clamped. To be shown without shading."""
    albedo: Float[Tensor, "batch 3 uv_size uv_size"]
    """Without the light, to be lit anew: the shading is divided out, and burnt-out highlights count as not seen. Cast
    shadows stay in it."""
    weight: Float[Tensor, "batch 1 uv_size uv_size"]
    """Share of the photograph in every texel: 1 where the camera sees it well, 0 where it does not."""
    mirrored: Float[Tensor, "batch 1 uv_size uv_size"]
    """Share of the other side's photograph; the rest is the model's albedo."""


@torch.no_grad()
def photo_texture(
    photo: Float[Tensor, "batch 3 height width"],
    mesh: FaceMesh,
    topology: MeshTopology,
    albedo: Float[Tensor, "batch 3 size size"],
    codes: FaceCodes,
    *,
    uv_size: int = 512,
    mirror: Int[Tensor, "uv_size uv_size"] | None = None,
    region: Float[Tensor, "uv_size uv_size"] | None = None,
    aligned_size: int | None = None,
    crop_size: int = 224,
    rasterizer: Rasterizer | None = None,
) -> PhotoTexture:
    """Project photographs onto the texture map, through the meshes that were fitted to them.

    A texel takes the photograph's colour where the mesh's z-buffer says that it is seen and its normal faces the
    camera. Elsewhere it takes that of its mirror image on the other side of the face, and where neither is seen, the
    model's albedo in the photograph's tone; both in the light of their own side, by the codes' spherical harmonics. The
    three fade into each other.

    Args:
        photo: the aligned pictures, RGB in [0, 1]; any size, also larger than the one that was encoded.
        mesh: the faces as they were fitted, world metres.
        topology: faces and texture coordinates.
        albedo: the model's texture, RGB about [0, 1], any size.
        codes: `cam`, `tform` and `light` of the fit.
        uv_size: side of the map in texels.
        mirror: `mirrored_texels` of the model; None mirrors nothing.
        region: where the photograph counts, 0 to 1: of the face, but not of the neck behind its collar, say. None is
            everywhere.
        aligned_size: side in pixels of the picture that `codes.tform` refers to; None is that of `photo`.
        crop_size: side in pixels of the encoder's crop, to which `codes.cam` and `codes.tform` belong.
        rasterizer: backend; None is `TorchRasterizer()`.

    Returns:
        Textures; no gradients.

    Raises:
        ValueError: when batch sizes differ, or nothing of a face is seen in its photograph.
    """
    if not len(photo) == mesh.batch_size == len(albedo) == codes.batch_size:
        raise ValueError(
            f"expected one batch size, got photo {len(photo)}, mesh {mesh.batch_size}, albedo {len(albedo)}, "
            f"codes {codes.batch_size}"
        )
    rasterizer = TorchRasterizer() if rasterizer is None else rasterizer
    size = (photo.shape[2], photo.shape[3])
    screen = project(mesh.vertices, codes.cam)
    if codes.tform is not None:
        side = size if aligned_size is None else (aligned_size, aligned_size)
        screen = crop_to_aligned(screen, codes.tform, crop_size, side)
    normals = vertex_normals(mesh.vertices, topology.faces)
    values = torch.cat([screen, normals, torch.ones_like(screen[..., :1])], dim=2)
    maps = resample_to_uv(values, topology, uv_size, rasterizer)
    place, normal, surface = maps[:, :3], maps[:, 3:6], maps[:, 6:] > 0
    place = place / maps[:, 6:].clamp(min=0.5)  # of small triangles, the weights do not quite sum to 1

    shading = sh_shading(normal, codes.light).clamp(min=_LEAST_SHADING)
    seen = _seen(place, normal, screen, topology, codes, size, rasterizer) * surface
    weight = _fade(seen if region is None else seen * region, surface)
    if not weight.flatten(1).amax(1).all():
        raise ValueError(
            "mesh: expected every face in its photograph, but of one nothing is seen; check cam, tform and translation"
        )
    grid = place[:, :2].permute(0, 2, 3, 1)
    own = functional.grid_sample(photo, grid, padding_mode="border", align_corners=False)
    sound = 0.01 + 0.99 * ((_BURNT[1] - own.amax(1, keepdim=True)) / (_BURNT[1] - _BURNT[0])).clamp(0, 1)
    own = own / shading

    model = functional.interpolate(albedo, (uv_size, uv_size), mode="bilinear", antialias=True)
    model = model * _tone(own, model, weight * sound)
    result, mirrored = model, torch.zeros_like(weight)
    if mirror is not None:
        other = mirror.clamp(min=0).flatten()
        mirrored = _fade(_pick(weight * sound, other) * ((mirror >= 0) & surface), surface)
        result = torch.lerp(result, _pick(own, other), mirrored)
    lit, result = torch.lerp(result, own, weight) * shading, torch.lerp(result, own, weight * sound)
    nearest, is_near = _bleed(surface[0, 0])
    lit, result = (torch.where(is_near, _pick(values, nearest), model) for values in (lit, result))
    return PhotoTexture(lit=lit, albedo=result, weight=weight, mirrored=mirrored * (1 - weight))


@torch.no_grad()
def mirrored_texels(
    vertices: Float[Tensor, "n_vertices 3"], topology: MeshTopology, uv_size: int = 512, tolerance: float = 0.003
) -> Int[Tensor, "uv_size uv_size"]:
    """For every texel, the one that shows its mirror image in the plane x = 0.

    Args:
        vertices: a face that is its own mirror image, such as the model's mean, world metres.
        topology: faces and texture coordinates; the chart itself need not be symmetric.
        uv_size: side of the map in texels.
        tolerance: how far from its mirror image a texel may lie, metres.

    Returns:
        Flat index (row times `uv_size` plus column) of the other texel; -1 where there is none.

    Example:
        >>> corners = torch.tensor([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> flat = MeshTopology(
        ...     faces=torch.tensor([[0, 1, 2]]), uvs=torch.tensor([[-1.0, 0], [2, 0], [0.5, 3]]),
        ...     uv_faces=torch.tensor([[0, 1, 2]]),
        ... )
        >>> mirrored_texels(corners, flat, uv_size=2).tolist()
        [[1, 0], [3, 2]]
    """
    values = torch.cat([vertices, torch.ones_like(vertices[:, :1])], dim=1)[None]
    maps = resample_to_uv(values, topology, uv_size)[0].flatten(1).cpu()
    texels = (maps[3] > 0).nonzero().squeeze(1)
    places = maps[:3, texels].T
    distance, nearest = cKDTree(places.numpy()).query((places * torch.tensor([-1.0, 1.0, 1.0])).numpy())
    found = torch.from_numpy(distance) < tolerance
    result = torch.full((uv_size * uv_size,), -1)
    result[texels[found]] = texels[torch.from_numpy(nearest)[found]]
    return result.view(uv_size, uv_size).to(vertices.device)


def _seen(
    place: Tensor,
    normal: Tensor,
    screen: Tensor,
    topology: MeshTopology,
    codes: FaceCodes,
    size: tuple[int, int],
    rasterizer: Rasterizer,
) -> Float[Tensor, "batch 1 uv_size uv_size"]:
    """How well the camera sees every texel, 0 to 1: before everything else on the mesh, and from the front."""
    fragments = rasterizer(screen, topology.faces, size)
    covered = (fragments.pix_to_face >= 0)[:, None].to(screen.dtype)
    depth = torch.where(covered > 0, fragments.zbuf[:, None], 0)
    grid = place[:, :2].permute(0, 2, 3, 1)
    cover, nearest = functional.grid_sample(torch.cat([covered, depth], dim=1), grid, align_corners=False).split(1, 1)
    # At the silhouette, a pixel of the background would come into the texture.
    whole = cover > 0.99
    behind = place[:, 2:] + 10 - nearest / cover.clamp(min=0.5)  # Fragments.zbuf is screen z + 10
    front = whole & (behind < _DEPTH_BIAS * codes.cam[:, 0, None, None, None])
    low, high = _FACING
    cosine = normal[:, 2:] / normal.norm(dim=1, keepdim=True).clamp(min=1e-6)
    facing: Tensor = ((cosine - low) / (high - low)).clamp(0, 1)
    seen: Tensor = front * facing * facing * (3 - 2 * facing)
    return seen


def _fade(share: Tensor, surface: Tensor) -> Tensor:
    """Let a share go to zero towards where it is zero, on the surface: the map's empty parts are no border."""
    sigma = _SEAM * share.shape[-1]
    kernel = 2 * round(2 * sigma) + 1
    blurred = gaussian_blur(torch.cat([share, surface.to(share.dtype)], dim=1), [kernel, kernel], [sigma, sigma])
    inner: Tensor = 2 * blurred[:, :1] / blurred[:, 1:].clamp(min=1e-6) - 1
    return share * inner.clamp(0, 1)


def _tone(own: Tensor, model: Tensor, weight: Tensor) -> Float[Tensor, "batch 3 uv_size uv_size"]:
    """Factors that give the model's albedo the photograph's colours: those nearby, far away the mean ones."""
    size = own.shape[2:]
    cells = torch.cat([own * weight, model * weight], dim=1)
    cells = functional.interpolate(cells, (_TONE_CELLS, _TONE_CELLS), mode="area")
    near = functional.interpolate(gaussian_blur(cells, [11, 11], [2.0, 2.0]), size, mode="bilinear")
    photographed, modelled = (near + _TONE_PRIOR * cells.mean(dim=(2, 3), keepdim=True)).split(3, dim=1)
    tone: Tensor = photographed / modelled.clamp(min=1e-6)
    return tone


def _bleed(surface: Tensor) -> tuple[Int[Tensor, " texels"], Bool[Tensor, "uv_size uv_size"]]:
    """Flat index of the nearest texel on the surface, of every texel, and whether it is near."""
    away, (rows, columns) = distance_transform_edt(~surface.cpu().numpy(), return_indices=True)
    nearest = torch.from_numpy(rows * surface.shape[1] + columns).flatten().to(surface.device, torch.int64)
    return nearest, torch.from_numpy(away <= _MARGIN * len(surface)).to(surface.device)


def _pick(values: Tensor, texels: Int[Tensor, " texels"]) -> Tensor:
    """Maps whose texels are others of the given maps."""
    return values.flatten(2)[..., texels].view_as(values)
