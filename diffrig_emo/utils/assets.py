"""Where official files are looked for. Nothing is ever downloaded."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from diffrig_emo.utils.asset_table import ASSETS, NEEDS, Asset

__all__ = [
    "ASSETS",
    "ENVIRONMENT",
    "NEEDS",
    "Asset",
    "AssetNotFoundError",
    "difference",
    "file_sha256",
    "find_asset",
    "identify",
    "locate_asset",
    "search_folders",
]

ENVIRONMENT = "DIFFRIG_EMO_ASSETS"
"""Environment variable with one or more folders (separated like PATH) that hold the assets."""
_SIBLINGS = {"data": "assets", "assets": "data"}
"""DiffusionRig-EMO keeps DECA's files in the one folder of its repository and EMOCA's in the other."""
_HASHED_AT_MOST = 2**27
"""Bytes of a file that is worth reading through just to name it; the largest with a known digest has 53 MB."""


class AssetNotFoundError(FileNotFoundError):
    """A licensed file is needed and was not found; the message says where to get it and where to put it."""


def search_folders() -> list[Path]:
    """Folders that are searched, best first: `DIFFRIG_EMO_ASSETS`, `./assets`, `./data`, the user's cache.

    For a folder called `data` or `assets` in the environment variable, the one of the other name beside it follows.
    """
    named: list[Path] = []
    for text in os.environ.get(ENVIRONMENT, "").split(os.pathsep):
        if text:
            folder = Path(text).expanduser()
            sibling = folder.resolve().parent / _SIBLINGS.get(folder.resolve().name, "")
            named += [folder, sibling] if folder.resolve().name in _SIBLINGS and sibling.is_dir() else [folder]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return list(dict.fromkeys([*named, Path("assets"), Path("data"), cache / "diffrig_emo"]))


def find_asset(name: str, folders: Sequence[Path] | None = None, converted: bool = True) -> Path | None:
    """The asset's path, or None when no searched folder holds it.

    In each searched folder, then in `assets` and `data` below it, the authors' own layouts are tried. In the
    first place that has the asset, a converted file comes before the official one; of several matches, the last by
    name is taken.

    Args:
        name: one of the names in `ASSETS`.
        folders: where to look instead of `search_folders()` (and, for some, PyTorch's own cache).
        converted: whether a converted file will do.

    Raises:
        ValueError: for a name that is not in the table.
    """
    asset = _named(name)
    for searched in _folders(asset) if folders is None else folders:
        for place in _places(asset, searched):
            if converted and asset.converted is not None and (place / asset.converted).is_file():
                return place / asset.converted
            found = sorted(path for path in place.glob(asset.file) if path.is_dir() == (asset.inside is not None))
            if found:
                return found[-1]
    return None


def locate_asset(name: str, path: str | Path | None = None) -> Path:
    """The asset's path: the given one, or the first that the searched folders hold.

    Args:
        name: one of the names in `ASSETS`.
        path: the asset itself, or a folder to search instead of the usual ones.

    Raises:
        AssetNotFoundError: saying what was looked for, where, and where to get it.
        ValueError: for a name that is not in the table.
    """
    asset = _named(name)
    folders = _folders(asset)
    if path is not None:
        path = Path(path).expanduser()
        if path.is_file() or (asset.inside and path.is_dir() and (path.match(asset.file) or _holds(asset, path))):
            return path
        folders = [path]
    found = find_asset(name, folders)
    if found is None:
        looked = ", ".join(f"{folder}" if folder.is_dir() else f"{folder} (no such folder)" for folder in folders)
        below = " or ".join(folder for folder in asset.folders if folder)
        raise AssetNotFoundError(
            f"{asset.file}{f' (or {asset.converted})' if asset.converted else ''} was not found in {looked}"
            f"{f', nor in {below} there' if below else ''}. It unlocks {asset.unlocks} (licence: {asset.licence}). "
            f"Where to get it: {asset.source}. Then give its path, or name its folder, DECA's data, EMOCA's assets or "
            f"the repository around them in {ENVIRONMENT}, or put it in ./assets or ./data."
        )
    return found


def difference(asset: Asset, path: Path) -> str | None:
    """What tells a file found under an asset's name from the official one, as the end of a sentence, or None.

    None also where no digest is known. Files that are too large to be read through just for this, over 128 MiB,
    are told by their size.
    """
    if path.is_dir():
        return None if _holds(asset, path) else f"holds no {asset.inside}: unpack the download with its folders"
    size = path.stat().st_size
    if size == 0:
        return "is empty"
    if path.name == asset.converted or asset.sha256 is None:
        return None
    known = identify(path)
    if known is asset:
        return None
    if known is not None:
        space = f", whose codes are of space {known.space!r}" if known.space != asset.space else ""
        return f"is {known.file} ({known.licence.partition(':')[0]}) under another name{space}"
    if asset.size is not None and size != asset.size:
        return f"has {size:,} bytes instead of {asset.size:,}: truncated, saved anew, or another version"
    return "has another SHA-256: saved anew, or another version"


def identify(path: str | Path) -> Asset | None:
    """The official file that this one is by its contents, whatever its name; None when it is none that we know."""
    if Path(path).stat().st_size > _HASHED_AT_MOST:
        return None
    digest = file_sha256(path)
    return next((asset for asset in ASSETS if asset.sha256 == digest), None)


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's contents, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _folders(asset: Asset) -> list[Path]:
    return search_folders() + ([Path(torch.hub.get_dir()) / "checkpoints"] if asset.torch_hub else [])


def _places(asset: Asset, folder: Path) -> Iterator[Path]:
    for part in ("", "assets", "data"):
        for below in asset.folders:
            yield folder / part / below


def _holds(asset: Asset, folder: Path) -> bool:
    return asset.inside is None or next(folder.glob(asset.inside), None) is not None


def _named(name: str) -> Asset:
    for asset in ASSETS:
        if asset.name == name:
            return asset
    raise ValueError(f"name: expected one of {', '.join(a.name for a in ASSETS)}; got {name!r}")
