"""Datasets: the code store, and the caches of other projects."""

from diffrig_emo.datasets.diffusionrig_lmdb import DiffusionRigLMDB
from diffrig_emo.datasets.store import CodeStore
from diffrig_emo.datasets.store_lock import StoreLockedError
from diffrig_emo.datasets.store_merge import merge
from diffrig_emo.datasets.store_parts import StoreWriter

__all__ = ["CodeStore", "DiffusionRigLMDB", "StoreLockedError", "StoreWriter", "merge"]
