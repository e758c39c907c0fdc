"""`diffrig-emo convert`: official files as npz and safetensors, which hold nothing but numbers and load faster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from safetensors.torch import save_file
from torch import Tensor

from diffrig_emo import __version__
from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.checkpoints import read_weights
from diffrig_emo.io.mean_shape import MEAN_SHAPE, read_mean_shape
from diffrig_emo.io.npz import read_array, read_columns, write_npz
from diffrig_emo.morphable.emoca_checkpoints import Prediction, find_checkpoint, read_prediction
from diffrig_emo.morphable.flame_files import (
    read_landmark_embedding,
    read_model,
    whole_landmark_embedding,
    whole_model,
)
from diffrig_emo.morphable.official_weights import read_official
from diffrig_emo.morphable.texture import texture_space
from diffrig_emo.utils.assets import ASSETS, Asset, AssetNotFoundError, file_sha256, find_asset, search_folders

Notes = dict[str, str]


def convert(output: str, assets: str | None = None, overwrite: bool = False) -> dict[str, Path]:
    """Turn each official file that is found into npz or safetensors, once, and say what was done.

    The converted files hold nothing but numbers, need no pickle to be read, and carry the licence and the SHA-256 of
    the file they were made of: that licence stays in force. They are taken in the place of the official ones where
    both lie in one folder.

    Args:
        output: folder to write to; missing ones are made. `./assets` is where they are found without more ado.
        assets: folder to search instead of the usual ones (see `diffrig-emo doctor`).
        overwrite: replace converted files that are there already.

    Returns:
        The files that were written, by the names of their assets.

    Raises:
        AssetNotFoundError: when `assets` is no folder, or none of the searched folders has an official file.
    """
    console = Console(highlight=False, markup=False, soft_wrap=True)
    if assets is not None and not Path(assets).expanduser().is_dir():
        raise AssetNotFoundError(f"assets: expected a folder with official files, but {assets} is none")
    folders = search_folders() if assets is None else [Path(assets).expanduser()]
    written: dict[str, Path] = {}
    found = False
    for asset in ASSETS:
        source = find_asset(asset.name, folders, converted=False)
        if source is None:
            continue
        found = True
        if asset.converted is None:
            console.print(f"{source}: read as it is, nothing to convert")
            continue
        target = Path(output).expanduser() / asset.converted
        if target.exists() and not overwrite:
            console.print(f"{source}: skipped, {target} exists (--overwrite replaces it)")
            continue
        try:
            _CONVERTERS[asset.name](asset, source, target)
        except (ValueError, FileNotFoundError) as error:
            console.print(f"{source}: skipped, because it cannot be converted. {error}")
        else:
            written[asset.name] = target
            console.print(
                f"{source}: converted to {target} ({target.stat().st_size:,} bytes). Licence: {asset.licence}"
            )
    if not found:
        raise AssetNotFoundError(
            f"no official file was found in {', '.join(map(str, folders))}. `diffrig-emo doctor` lists the files, "
            "where to get them and where to put them"
        )
    return written


def _notes(asset: Asset, file: Path) -> Notes:
    return {
        "asset": asset.name,
        "source": file.name,
        "source_sha256": file_sha256(file),
        "licence": asset.licence,
        "converted_by": f"diffrig_emo {__version__}",
    }


def _model(asset: Asset, source: Path, target: Path) -> None:
    model = read_model(source)
    if model.space is not None and model.space != asset.space:
        raise ValueError(
            f"Its contents are those of {model.space}, not of {asset.space}: rename it to the name it had when it was "
            "downloaded"
        )
    known = {} if model.space is None else {"space": model.space}
    write_npz(target, whole_model(model), _notes(asset, source) | known)


def _landmarks(asset: Asset, source: Path, target: Path) -> None:
    write_npz(target, whole_landmark_embedding(read_landmark_embedding(source)), _notes(asset, source))


def _texture(asset: Asset, source: Path, target: Path) -> None:
    """Component after component, so that the first fifty are read without the rest."""
    space = texture_space(source)
    mean = read_array(source, space.mean).astype(np.float32)
    side = space.side
    rows = np.arange(3 * side**2).reshape(side, side, 3).transpose(2, 1, 0).ravel()
    columns = read_columns(source, space.components, rows, space.n_total)
    components = columns.reshape(space.n_total, 3, side, side).T
    arrays = {space.mean: mean.reshape(side, side, 3), space.components: components}
    write_npz(target, arrays, _notes(asset, source))


def _networks(asset: Asset, source: Path, target: Path) -> None:
    """DECA's or EMOCA's, each tensor under `component.name`."""
    file = find_checkpoint(source) if asset.system == "EMOCA" else source
    components = read_official(file).components
    missing = {"E_flame", *(["E_expression"] if asset.system == "EMOCA" else [])} - set(components)
    if missing:
        raise ValueError(f"It lacks {', '.join(sorted(missing))}: it is incomplete, or another system's file")
    if asset.system == "EMOCA":
        width = len(components["E_expression"]["layers.2.weight"])
        if read_prediction(file, width) == Prediction(global_rotation=True, jaw_pose=False):
            raise ValueError("Its cfg.yaml, which says that it predicts the global rotation, would be lost")
    elif "E_expression" in components:
        raise ValueError("It holds EMOCA's networks; EMOCA's models are folders")
    tensors = {f"{part}.{name}": tensor for part, state in components.items() for name, tensor in state.items()}
    _save(target, tensors, _notes(asset, file))


def _rig(asset: Asset, source: Path, target: Path) -> None:
    """DiffusionRig's, under the original names."""
    tensors = {str(name).removeprefix("module."): value for name, value in read_weights(source).items()}
    parts = {name.partition(".")[0] for name in tensors}
    if parts != {"denoisingUNet", "encoder"} or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(f"Expected DiffusionRig's denoisingUNet and encoder, got {', '.join(sorted(parts)[:4])}")
    _save(target, tensors, _notes(asset, source))


def _mean_shape(asset: Asset, source: Path, target: Path) -> None:
    write_npz(target, {MEAN_SHAPE: read_mean_shape(source).numpy()}, _notes(asset, source))


def _save(target: Path, tensors: dict[str, Tensor], notes: Notes) -> None:
    with atomic_path(target) as temporary:
        # Copies: safetensors wants tensors that share no memory.
        save_file({name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}, temporary, notes)


_CONVERTERS: dict[str, Callable[[Asset, Path, Path], None]] = {
    "flame": _model,
    "flame2023": _model,
    "flame2023_open": _model,
    "landmark_embedding": _landmarks,
    "flame_texture": _texture,
    "bfm_albedo": _texture,
    "deca": _networks,
    **{asset.name: _networks for asset in ASSETS if asset.system == "EMOCA" and asset.converted},
    "diffusionrig": _rig,
    "personal": _rig,
    "mean_shape": _mean_shape,
}
