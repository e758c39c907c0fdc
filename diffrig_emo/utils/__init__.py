"""Helpers that know nothing of faces: assets, optional imports, what is skipped, device and precision, memory."""

from diffrig_emo.utils.assets import ASSETS, Asset, AssetNotFoundError, find_asset, locate_asset
from diffrig_emo.utils.devices import choose_device, choose_precision
from diffrig_emo.utils.imports import require
from diffrig_emo.utils.skipped import Skipped, unless_missing

__all__ = [
    "ASSETS",
    "Asset",
    "AssetNotFoundError",
    "Skipped",
    "choose_device",
    "choose_precision",
    "find_asset",
    "locate_asset",
    "require",
    "unless_missing",
]
