"""The photographer: codes and nuisances in, clean photographs out."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, interpolate

from diffrig_emo.morphable.skinning import rodrigues
from diffrig_emo.morphable.synthetic_head import SyntheticHead, SyntheticTexture
from diffrig_emo.renderer import Fragments, Rasterizer, vertex_normals
from diffrig_emo.renderer import interpolate as interpolate_attributes
from diffrig_emo.structures import FaceCodes, FaceMesh
from diffrig_emo.synthesis.clothes import ClothesMesh
from diffrig_emo.synthesis.glasses import GlassesMesh
from diffrig_emo.synthesis.hair import HairMesh, strand_tone
from diffrig_emo.synthesis.lighting import dominant_light
from diffrig_emo.synthesis.nuisances import Nuisances
from diffrig_emo.synthesis.rigid import rigid_motion, rotate
from diffrig_emo.synthesis.shading import cast_shadow, highlight, lamp_screen, shade, shoulder
from diffrig_emo.transforms.projection import project

_ROOT = (0.0, -0.065, -0.015)  # about which head and shoulders turn, metres
_SKIN, _HAIR, _FRAME, _CLOTH = range(4)  # materials, in the order of the vertices
_SHADOW_LIFT = 0.005  # metres
# Of hair, frames and cloth; skin has its own. Strength and exponent of the highlight.
_GLOSS = (0.0, 0.10, 0.50, 0.0)
_SHARPNESS = (0.0, 14.0, 40.0, 1.0)
_WET_GLOSS, _WET_SHARPNESS = 0.8, 90.0  # added on eyes


class Studio:
    """Renders head, hair, glasses and clothes together, in one z-buffer, over a background.

    The head's diffuse colour is that of the physical buffers (albedo times spherical-harmonics shading)
    except where a spot of the skin, a cast shadow or a highlight changes it.

    Args:
        face_model: the morphable head.
        texture: its albedo.
        rasterizer: finds the visible triangle of every pixel.
        supersample: pixels are averages of `supersample` x `supersample` samples.

    Attributes:
        freckle_sites: (n, 2) texture coordinates where freckles may sit.
    """

    def __init__(
        self, face_model: SyntheticHead, texture: SyntheticTexture, rasterizer: Rasterizer, supersample: int
    ) -> None:
        self.face_model, self.texture, self.rasterizer = face_model, texture, rasterizer
        self.supersample = supersample
        head, regions = face_model.topology, face_model.regions
        mean = FaceCodes.zeros(
            1, n_shape=face_model.n_shape, n_tex=texture.n_tex, n_exp=face_model.n_exp, space=face_model.space
        )
        with torch.no_grad():
            template = face_model(mean).vertices[0]
        bald = torch.isin(regions["skin"], regions["lips"])
        self.hair_mesh = HairMesh(template, head.faces, regions["skin"][~bald])
        self.glasses_mesh, self.clothes_mesh = GlassesMesh(), ClothesMesh()
        self._scalp = regions["scalp"]

        parts = (
            (head.faces, len(template)),
            (self.hair_mesh.faces, len(self.hair_mesh.rest)),
            (self.glasses_mesh.faces, self.glasses_mesh.n_vertices),
            (self.clothes_mesh.faces, len(self.clothes_mesh.rest)),
        )
        starts = [sum(size for _, size in parts[:i]) for i in range(len(parts))]
        self._faces = torch.cat([faces + start for (faces, _), start in zip(parts, starts, strict=True)])
        self._worn_faces = self._faces[len(head.faces) :] - starts[_HAIR]
        self._material = torch.cat([torch.full((len(faces),), i) for i, (faces, _) in enumerate(parts)])
        self._lens_faces = self.glasses_mesh.lens_faces + starts[_FRAME]
        # Where a vertex lies on the unposed body (strands and stripes follow it), and how wet it is.
        self._fixed = torch.zeros(sum(size for _, size in parts), 4)
        self._fixed[starts[_HAIR] : starts[_FRAME], :3] = self.hair_mesh.rest
        self._fixed[starts[_CLOTH] :, :3] = self.clothes_mesh.rest
        self._fixed[regions["eyes"], 3], self._fixed[regions["lips"], 3] = 1.0, 0.08
        self._grid = head.uvs * 2 - 1
        self._grid[:, 1] *= -1
        unused = torch.zeros(len(self._faces) - len(head.faces), 3, dtype=head.uv_faces.dtype)
        self._grid_faces = torch.cat([head.uv_faces, unused])
        on_face = torch.isin(head.faces, regions["face"]).all(dim=1) & ~torch.isin(head.faces, regions["lips"]).any(
            dim=1
        )
        self.freckle_sites = head.uvs[head.uv_faces[on_face]].mean(dim=1).double().numpy()
        with torch.no_grad():
            base = torch.cat([torch.zeros(1, texture.n_tex), torch.eye(texture.n_tex)])
            on_scalp = self._grid[head.uv_faces[torch.isin(head.faces, regions["scalp"]).all(dim=1), 0]]
            grid = on_scalp.expand(len(base), 1, -1, -1)
            painted = grid_sample(texture(base), grid, align_corners=False).mean(dim=(2, 3))
        self._hair_mean, self._hair_directions = painted[0], painted[1:] - painted[0]

    def natural_hair(self, codes: FaceCodes) -> Float[np.ndarray, "batch 3"]:
        """RGB of the hair that the texture codes paint on the scalp."""
        return np.asarray((self._hair_mean + codes.tex @ self._hair_directions).clamp(0.02, 0.9).double().numpy())

    @torch.no_grad()
    def photograph(
        self, codes: FaceCodes, nuisances: Nuisances, size: int
    ) -> tuple[Float[Tensor, "batch 3 size size"], FaceMesh]:
        """Take clean photographs (no noise, no JPEG).

        Args:
            codes: faces, in the head's code space.
            nuisances: of the same number of faces.
            size: side of the pictures in pixels.

        Returns:
            RGB in [0, 1], and the posed heads.
        """
        mesh, neutral = self._pose(codes), self._pose(_neutral(codes))
        vertices, normals = self._build(codes, nuisances, mesh, neutral)
        screen, side = project(vertices, codes.cam), size * self.supersample
        fragments = self.rasterizer(screen, self._faces, (side, side))
        covered = (fragments.pix_to_face >= 0)[:, None]
        material = self._material[fragments.pix_to_face.clamp(min=0)][:, None]

        direction, lamp = dominant_light(codes.light)
        centre = mesh.landmarks3d[:, 27:31].mean(dim=1, keepdim=True) - vertices.new_tensor([0.0, 0.0, 0.07])
        lamp_vertices = lamp_screen(vertices, centre, direction)
        # Shadows fall on a surface a little before the true one, so that slanting surfaces do not shadow themselves.
        receivers = lamp_screen(vertices + _SHADOW_LIFT * normals, centre, direction)
        moving = torch.cat([normals, receivers], dim=-1)
        surface, fixed, grid = interpolate_attributes(
            fragments, (moving, self._faces), (self._fixed, self._faces), (self._grid, self._grid_faces)
        )
        # Thin things are seen from behind too: the inside of hair, the back of a collar.
        behind = (material != _SKIN) & (surface[:, 2:3] < 0)
        normal = torch.where(behind, -surface[:, :3], surface[:, :3])

        albedo = self._albedo(codes, nuisances, material, grid, fixed[:, :3]) * torch.where(behind, 0.45, 1.0)
        shadow = cast_shadow(self.rasterizer, lamp_vertices, self._faces, surface[:, 3:])
        gloss, sharpness = _finish(nuisances, material, fixed[:, 3:])
        gleam = highlight(normal, direction, lamp, gloss * (1 - shadow), sharpness)
        colours = shoulder(albedo * shade(normal, codes.light, direction, lamp, shadow) + gleam)

        backdrop = interpolate(nuisances.background.render(size), (side, side), mode="bilinear")
        picture = self._glare(torch.where(covered, colours, backdrop), screen, fragments, nuisances)
        return avg_pool2d(picture, self.supersample).clamp(0, 1), mesh

    def _pose(self, codes: FaceCodes) -> FaceMesh:
        # One by one: a matrix product may round differently in another batch, and a picture must not depend on that.
        return FaceMesh.cat([self.face_model(one) for one in codes])

    def _build(
        self, codes: FaceCodes, nuisances: Nuisances, mesh: FaceMesh, neutral: FaceMesh
    ) -> tuple[Float[Tensor, "batch n_vertices 3"], Float[Tensor, "batch n_vertices 3"]]:
        """All vertices in world space and their normals, in the order of the materials."""
        rotation, offset = rigid_motion(neutral.vertices[:, self._scalp], mesh.vertices[:, self._scalp])
        skin_normals = vertex_normals(mesh.vertices, self.face_model.topology.faces)
        root, half_turn = codes.pose.new_tensor(_ROOT), rodrigues(0.5 * codes.global_rotation)
        torso = rotate(self.clothes_mesh.vertices(nuisances.clothes) - root, half_turn) + root
        worn = torch.cat(
            [
                self.hair_mesh.shell(nuisances.hair, mesh.vertices, skin_normals),
                rotate(self.hair_mesh.curtain(nuisances.hair, neutral.vertices), rotation) + offset,
                rotate(self.glasses_mesh.vertices(nuisances.glasses, neutral.landmarks3d), rotation) + offset,
                torso if codes.translation is None else torso + codes.translation[:, None],
            ],
            dim=1,
        )
        worn_normals = vertex_normals(worn, self._worn_faces)
        return torch.cat([mesh.vertices, worn], dim=1), torch.cat([skin_normals, worn_normals], dim=1)

    def _albedo(
        self,
        codes: FaceCodes,
        nuisances: Nuisances,
        material: Int[Tensor, "batch 1 height width"],
        grid: Float[Tensor, "batch 2 height width"],
        rest: Float[Tensor, "batch 3 height width"],
    ) -> Float[Tensor, "batch 3 height width"]:
        """Colour of every pixel's surface."""
        texels = grid.permute(0, 2, 3, 1)
        maps = torch.cat([self.texture(codes.tex[i : i + 1]) for i in range(codes.batch_size)])
        skin = grid_sample(maps, texels, align_corners=False, padding_mode="border").clamp(0, 1)
        albedo = nuisances.skin.paint(skin, texels)
        hair = nuisances.hair.colour[..., None, None] * strand_tone(rest)
        albedo = torch.where(material == _HAIR, hair, albedo)
        albedo = torch.where(material == _FRAME, nuisances.glasses.colour[..., None, None], albedo)
        return torch.where(material == _CLOTH, nuisances.clothes.pattern(rest), albedo)

    def _glare(
        self,
        picture: Float[Tensor, "batch 3 side side"],
        screen: Float[Tensor, "batch n_vertices 3"],
        fragments: Fragments,
        nuisances: Nuisances,
    ) -> Float[Tensor, "batch 3 side side"]:
        """The sky mirrored in lenses: a soft diagonal band."""
        wearing = (nuisances.glasses.worn > 0.5).nonzero().squeeze(1)
        if not len(wearing):
            return picture
        side = picture.shape[-1]
        lenses = self.rasterizer(screen[wearing], self._lens_faces, (side, side))
        before = (fragments.pix_to_face[wearing] < 0) | (lenses.zbuf < fragments.zbuf[wearing])
        glass = ((lenses.pix_to_face >= 0) & before)[:, None]
        middle = screen[wearing, int(self._lens_faces[0, 0])][:, :2, None, None]
        ticks = (2 * torch.arange(side) + 1) / side - 1
        along = ticks[:, None] + 0.6 * ticks - (middle[:, 1] - 0.05 + 0.6 * (middle[:, 0] + 0.2))
        band = (0.2 + 0.8 * torch.exp(-((along / 0.07) ** 2)))[:, None]
        opacity = glass * band * nuisances.glasses.glare[wearing][:, None, None, None]
        sky = picture.new_tensor([0.9, 0.95, 1.0]).view(1, 3, 1, 1)
        return picture.index_copy(0, wearing, picture[wearing] + opacity * (sky - picture[wearing]))


def _neutral(codes: FaceCodes) -> FaceCodes:
    """The same person looking straight ahead without expression."""
    return codes.replace(
        exp=torch.zeros_like(codes.exp), pose=torch.zeros_like(codes.pose), eye_pose=None, translation=None
    )


def _finish(
    nuisances: Nuisances, material: Int[Tensor, "batch 1 height width"], wetness: Float[Tensor, "batch 1 height width"]
) -> tuple[Float[Tensor, "batch 1 height width"], Float[Tensor, "batch 1 height width"]]:
    """Strength and exponent of every pixel's highlight."""
    skin = nuisances.skin
    gloss, sharpness = skin.gloss.new_tensor(_GLOSS)[material], skin.gloss.new_tensor(_SHARPNESS)[material]
    gloss = torch.where(material == _SKIN, skin.gloss[:, None, None, None], gloss)
    sharpness = torch.where(material == _SKIN, skin.sharpness[:, None, None, None], sharpness)
    return gloss + _WET_GLOSS * wetness, sharpness + _WET_SHARPNESS * wetness
