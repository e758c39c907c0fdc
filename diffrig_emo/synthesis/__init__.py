"""Synthetic photographs with truth, and the writers that put them on disk."""

from diffrig_emo.synthesis.faces import SyntheticFaces
from diffrig_emo.synthesis.scenes import SyntheticScenes
from diffrig_emo.synthesis.writers import write_affectnet_csv, write_affectnet_npy, write_ffhq

__all__ = ["SyntheticFaces", "SyntheticScenes", "write_affectnet_csv", "write_affectnet_npy", "write_ffhq"]
