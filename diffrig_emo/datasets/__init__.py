"""Datasets: FFHQ, AffectNet, albums, the code store, and the caches of other projects."""

from diffrig_emo.datasets.affectnet import AffectNet
from diffrig_emo.datasets.album import Album
from diffrig_emo.datasets.combined import CombinedFaces
from diffrig_emo.datasets.diffusionrig_lmdb import DiffusionRigLMDB
from diffrig_emo.datasets.ffhq import FFHQ
from diffrig_emo.datasets.inverted_faces import InvertedFaces, write_inverted_faces
from diffrig_emo.datasets.sampling import BalancedSampler, ShuffledSampler
from diffrig_emo.datasets.store import CodeStore
from diffrig_emo.datasets.store_lock import StoreLockedError
from diffrig_emo.datasets.store_merge import merge
from diffrig_emo.datasets.store_parts import StoreWriter

__all__ = [
    "FFHQ",
    "AffectNet",
    "Album",
    "BalancedSampler",
    "CodeStore",
    "CombinedFaces",
    "DiffusionRigLMDB",
    "InvertedFaces",
    "ShuffledSampler",
    "StoreLockedError",
    "StoreWriter",
    "merge",
    "write_inverted_faces",
]
