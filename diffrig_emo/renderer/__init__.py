"""Meshes to pictures: rasterizer backends, lighting, and the physical buffers."""

from diffrig_emo.renderer.buffers import BufferRenderer
from diffrig_emo.renderer.fragments import Fragments, Rasterizer
from diffrig_emo.renderer.interpolate import barycentric_fragments, interpolate, vertex_normals
from diffrig_emo.renderer.lighting import directional_shading, point_shading, sh_shading
from diffrig_emo.renderer.photo_texture import PhotoTexture, mirrored_texels, photo_texture
from diffrig_emo.renderer.pytorch3d_rasterizer import Pytorch3dRasterizer
from diffrig_emo.renderer.torch_rasterizer import TorchRasterizer
from diffrig_emo.renderer.turntable import turntable
from diffrig_emo.renderer.uv_space import resample_to_uv, texture_coordinates

__all__ = [
    "BufferRenderer",
    "Fragments",
    "PhotoTexture",
    "Pytorch3dRasterizer",
    "Rasterizer",
    "TorchRasterizer",
    "barycentric_fragments",
    "directional_shading",
    "interpolate",
    "mirrored_texels",
    "photo_texture",
    "point_shading",
    "resample_to_uv",
    "sh_shading",
    "texture_coordinates",
    "turntable",
    "vertex_normals",
]
