"""The encoder that a verb is told to use, or else the best that is available."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import warnings
from pathlib import Path

import torch

from diffrig_emo.modules import FaceEncoder
from diffrig_emo.morphable import DECA, EMOCA, MorphableEncoder
from diffrig_emo.utils.assets import AssetNotFoundError, find_asset, locate_asset
from diffrig_emo.workflows.load import load_encoder


@dataclasses.dataclass(frozen=True)
class ChosenEncoder:
    """An encoder, and how the store names it."""

    model: FaceEncoder
    name: str
    takes_whole: bool
    """Whether it was trained on whole aligned pictures, as runs of ours are, instead of on crops around the face."""

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the weights."""
        digest = hashlib.sha256()
        # Not the state dict, which licensed weights are kept out of.
        for name, tensor in [*self.model.encoder.named_parameters(), *self.model.encoder.named_buffers()]:
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
        return digest.hexdigest()


def choose_encoder(given: MorphableEncoder | Path | None = None, detail: bool = False) -> ChosenEncoder:
    """The encoder that is asked for, or the best that is available.

    Args:
        given: an encoder, the run of a `FaceEncoder`, or None: EMOCA if its files are found, else DECA.
        detail: whether the latter shall give wrinkle codes too.

    Raises:
        FileNotFoundError: when there is neither.
    """
    if isinstance(given, Path):
        return ChosenEncoder(load_encoder(given), f"run {given.resolve().name}", takes_whole=True)
    if given is None:
        given = _best_available(detail)
    with warnings.catch_warnings():
        # Lightning's advice about checkpoints, which nobody makes of this module.
        warnings.filterwarnings("ignore", "Attribute 'encoder'", UserWarning)
        model = FaceEncoder(given).eval()
    model.hparams.clear()
    return ChosenEncoder(model, type(given).__name__, takes_whole=False)


def _best_available(detail: bool) -> MorphableEncoder:
    if find_asset("emoca") is not None:
        return EMOCA(detail=detail)
    if find_asset("deca") is not None:
        return DECA(detail=detail)
    try:
        locate_asset("deca")
    except AssetNotFoundError as error:
        raise AssetNotFoundError(
            f"encoder: neither EMOCA's nor DECA's files were found. {error} Or give --encoder a run of ours, such as "
            "demo_output/encoder after `diffrig-emo demo`: its codes are those of SyntheticHead"
        ) from error
    raise AssertionError("found after all")
