"""Synthetic photographs with truth and the writers that put them on disk; wrinkles as normals and as a mesh."""

from diffrig_emo.synthesis.detail_mesh import displaced_mesh
from diffrig_emo.synthesis.detail_normals import detail_normals
from diffrig_emo.synthesis.faces import SyntheticFaces
from diffrig_emo.synthesis.writers import write_affectnet_csv, write_affectnet_npy, write_ffhq

__all__ = [
    "SyntheticFaces",
    "detail_normals",
    "displaced_mesh",
    "write_affectnet_csv",
    "write_affectnet_npy",
    "write_ffhq",
]
