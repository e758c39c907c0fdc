"""Helpers that know nothing of faces: assets on disk, optional imports, device and precision, memory."""

from diffrig_emo.utils.assets import ASSETS, Asset, AssetNotFoundError, find_asset, locate_asset
from diffrig_emo.utils.devices import choose_device, choose_precision
from diffrig_emo.utils.imports import require

__all__ = [
    "ASSETS",
    "Asset",
    "AssetNotFoundError",
    "choose_device",
    "choose_precision",
    "find_asset",
    "locate_asset",
    "require",
]
