"""The one batch type, and the collate function that builds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.data._utils.collate import collate, default_collate_fn_map

from diffrig_emo.structures.base import StructError, TensorStruct
from diffrig_emo.structures.codes import FaceCodes
from diffrig_emo.structures.crop import FaceCrop


class FaceBatch(TypedDict, total=False):
    """A batch of faces, as every DataModule gives it. What a source lacks is NaN or -1, or absent."""

    image: Float[Tensor, "batch 3 height width"]
    """Aligned picture, RGB in [0, 1]."""
    crop: FaceCrop
    """The face as an encoder wants it; absent where `image` is to be taken whole."""
    codes: FaceCodes
    """Codes of the picture."""
    target_codes: FaceCodes
    """Codes wanted after an edit; absent where nothing is to be edited."""
    target_label: Int[Tensor, " batch"]
    """Emotion wanted after an edit, 0..7; -1 keeps the face's own. Absent, as all targets, where nothing is edited."""
    target_strength: Float[Tensor, " batch"]
    """Strength of the wanted expression: 0 neutral, 1 as it is, above 1 exaggerated."""
    target_va: Float[Tensor, "batch 2"]
    """Valence and arousal wanted after an edit, in [-1, 1]; NaN keeps the face's own."""
    target_image: Float[Tensor, "batch 3 height width"]
    """Pictures whose expression is wanted after an edit, RGB in [0, 1]."""
    true_edit: Float[Tensor, "batch 3 height width"]
    """The face itself as it looks with the emotion wanted, RGB in [0, 1]; absent where nobody has seen it."""
    latent: Float[Tensor, "batch channels h w"]
    """Inverted latent of the picture; absent where it is found when needed."""
    label: Int[Tensor, " batch"]
    """AffectNet emotion 0..7 (neutral, happy, sad, surprise, fear, disgust, anger, contempt); -1 unknown."""
    va: Float[Tensor, "batch 2"]
    """Valence and arousal in [-1, 1]; NaN unknown."""
    semantic: Float[Tensor, "batch dim"]
    """Semantic code of the picture, as its encoder gives it; not normalised."""
    landmarks: Float[Tensor, "batch 68 2"]
    """Pixels of `image`, integers at pixel centres; NaN unknown."""
    path: list[str]
    """Where the picture came from."""
    index: Int[Tensor, " batch"]
    """Index of the face in its dataset; with the seed it fixes the face's noise."""
    source: list[str]
    """Name of the dataset."""


def face_collate(items: Sequence[Mapping[str, Any]]) -> Any:
    """Build a batch from dataset items, joining structs along their batch axis.

    Args:
        items: dictionaries with equal keys; tensors are stacked, structs (of batch size 1) concatenated,
            strings listed, numbers turned into tensors.

    Returns:
        The batch, a `FaceBatch` for items of our datasets.

    Raises:
        StructError: when items have different keys, or tensors of one key have different sizes.

    Example:
        >>> import torch
        >>> item = {"image": torch.zeros(3, 8, 8), "codes": FaceCodes.zeros(1, n_shape=2, n_tex=2, n_exp=2, space="s")}
        >>> batch = face_collate([item, item])
        >>> tuple(batch["image"].shape), batch["codes"].batch_size
        ((2, 3, 8, 8), 2)
    """
    if not items:
        raise StructError("face_collate: expected at least one item, got an empty list")
    keys = items[0].keys()
    for number, item in enumerate(items):
        if item.keys() != keys:
            odd = sorted(set(item.keys()) ^ set(keys))
            raise StructError(f"face_collate: item {number} and item 0 differ in the keys {odd}")
    for key in keys:
        sizes = {tuple(item[key].shape) for item in items if isinstance(item[key], Tensor)}
        if len(sizes) > 1:
            raise StructError(f"face_collate: {key!r} has different sizes within a batch: {sorted(sizes)}")
    return collate(list(items), collate_fn_map={TensorStruct: _cat_structs, **default_collate_fn_map})


def _cat_structs(structs: Sequence[TensorStruct], *, collate_fn_map: Any = None) -> TensorStruct:
    return type(structs[0]).cat(structs)
