"""Licensed files that users get themselves: what they are, where they are looked for, what they unlock.

Nothing is ever downloaded here. Sizes and digests are those of the files that the authors give out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

ENVIRONMENT = "DIFFRIG_EMO_ASSETS"
"""Environment variable with one or more folders (separated like PATH) that hold the assets."""

_MPI = "MPI, non-commercial research"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asset:
    """One official file or folder."""

    name: str
    """Short name, used in messages and by `locate_asset`."""
    file: str
    """Its name on disk (a glob pattern)."""
    folders: tuple[str, ...] = ("",)
    """Folders that it may lie in, below those that are searched: the layouts of the authors' own scripts."""
    licence: str
    """Who licenses it, and for what."""
    source: str
    """Where to get it."""
    unlocks: str
    """What diffrig_emo can do with it."""
    size: int | None = None
    """Bytes; None when unknown or a folder."""
    sha256: str | None = None
    """Digest; None when unknown or a folder."""

    def problem(self, path: Path) -> str | None:
        """What is wrong with a file found under this name, or None.

        A file of another size is called truncated or different without reading it through.
        """
        if self.size is not None and path.stat().st_size != self.size:
            return f"has {path.stat().st_size:,} bytes instead of {self.size:,}: truncated, or another version"
        if self.sha256 is not None:
            with path.open("rb") as file:
                digest = _sha256(file)
            if digest != self.sha256:
                return f"has another SHA-256 ({digest[:12]}...) than the official file ({self.sha256[:12]}...)"
        return None


class AssetNotFoundError(FileNotFoundError):
    """A licensed file is needed and was not found; the message says where to get it and where to put it."""


ASSETS: tuple[Asset, ...] = (
    Asset(
        name="flame",
        file="generic_model.pkl",
        folders=("", "FLAME/geometry", "FLAME2020"),
        licence=f"FLAME 2020: {_MPI}",
        source="https://flame.is.tue.mpg.de (register, download FLAME 2020)",
        unlocks="the FLAME face model",
        size=53_023_716,
        sha256="efcd14cc4a69f3a3d9af8ded80146b5b6b50df3bd74cf69108213b144eba725b",
    ),
    Asset(
        name="head_template",
        file="head_template.obj",
        folders=("", "FLAME/geometry"),
        licence=f"DECA: {_MPI}",
        source="https://github.com/yfeng95/DECA (folder data)",
        unlocks="FLAME's triangles and texture coordinates",
        size=563_358,
        sha256="dd5bfbce75adb99b1963f43bca7ec3557bd4a7321f8fc515f4100599e80d99f2",
    ),
    Asset(
        name="landmark_embedding",
        file="landmark_embedding.npy",
        folders=("", "FLAME/geometry"),
        licence=f"DECA: {_MPI}",
        source="https://github.com/yfeng95/DECA (folder data)",
        unlocks="FLAME's landmarks, and recentering of edited faces",
        size=31_292,
        sha256="8095348eeafce5a02f6bd8765146307f9567a3f03b316d788a2e47336d667954",
    ),
    Asset(
        name="flame_texture",
        file="FLAME_texture.npz",
        folders=("", "FLAME/texture"),
        licence=f"FLAME texture space: {_MPI}",
        source="https://flame.is.tue.mpg.de (register, download the texture space)",
        unlocks="DiffusionRig's albedo",
    ),
    Asset(
        name="bfm_albedo",
        file="FLAME_albedo_from_BFM.npz",
        folders=("", "FLAME/texture"),
        licence="Basel Face Model: non-commercial research",
        source="made from the Basel Face Model 2017 with https://github.com/TimoBolkart/BFM_to_FLAME",
        unlocks="DECA's and EMOCA's own albedo (planned)",
    ),
    Asset(
        name="deca",
        file="deca_model.tar",
        folders=("", "DECA/data"),
        licence=f"DECA: {_MPI}",
        source="linked from https://github.com/yfeng95/DECA",
        unlocks="DECA's weights: FLAME codes from photographs (planned)",
    ),
    Asset(
        name="emoca",
        file="EMOCA_v2_lr_mse_20",
        folders=("", "EMOCA/models"),
        licence=f"EMOCA: {_MPI}",
        source="https://emoca.is.tue.mpg.de (register, download the model EMOCA_v2_lr_mse_20)",
        unlocks="EMOCA's weights: stronger expression codes (planned)",
    ),
    Asset(
        name="diffusionrig",
        file="model*.pt",
        folders=("DiffusionRig", "diffusionrig"),
        licence="DiffusionRig: Adobe, non-commercial research",
        source="linked from https://github.com/adobe-research/diffusion-rig (stage one)",
        unlocks="DiffusionRig's weights at 256 pixels",
    ),
)


def search_folders() -> list[Path]:
    """Folders that are searched, best first: `DIFFRIG_EMO_ASSETS`, `./assets`, `./data`, the user's cache."""
    named = [Path(p).expanduser() for p in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if p]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [*named, Path("assets"), Path("data"), cache / "diffrig_emo"]


def find_asset(name: str, folders: Sequence[Path] | None = None) -> Path | None:
    """The asset's path, or None when no searched folder holds it. Of several matches, the last by name.

    Args:
        name: one of the names in `ASSETS`.
        folders: where to look instead of `search_folders()`.

    Raises:
        ValueError: for a name that is not in the table.
    """
    asset = _named(name)
    for searched in search_folders() if folders is None else folders:
        for folder in asset.folders:
            found = sorted((searched / folder).glob(asset.file))
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
    folders = search_folders()
    if path is not None:
        path = Path(path).expanduser()
        if path.is_file() or (path.is_dir() and path.match(asset.file)):
            return path
        folders = [path]
    found = find_asset(name, folders)
    if found is None:
        raise AssetNotFoundError(
            f"{asset.file} was not found in {', '.join(str(f) for f in folders)}. It unlocks {asset.unlocks} "
            f"(licence: {asset.licence}). Get it from {asset.source}, then give its path, or put it at "
            f"{PurePosixPath(asset.folders[0], asset.file)} in ./assets or in a folder named by {ENVIRONMENT}."
        )
    return found


def _named(name: str) -> Asset:
    for asset in ASSETS:
        if asset.name == name:
            return asset
    raise ValueError(f"name: expected one of {', '.join(a.name for a in ASSETS)}; got {name!r}")


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(2**20):
        digest.update(block)
    return digest.hexdigest()
