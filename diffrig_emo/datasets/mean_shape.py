"""Shape codes shared by several photographs of one person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from diffrig_emo.datasets.store import CodeStore


def mean_shape(
    store: CodeStore, faces: Sequence[int] | NDArray[np.int64] | NDArray[np.bool_] | None = None
) -> Float[Tensor, " n_shape"]:
    """Mean shape code of a person's faces, as DiffusionRig's stage two takes it (Ding et al. 2023, section 3.3).

    Keep it with the store by `merge(path, mean_shape=mean_shape(store))`.

    Args:
        store: the person's album, or a store of many persons.
        faces: numbers of the person's faces, or a mask over all; None takes all. Faces without codes do not count.

    Raises:
        ValueError: when none of the faces has codes.

    Example:
        >>> import tempfile
        >>> from diffrig_emo.datasets import StoreWriter, merge
        >>> from diffrig_emo.structures import FaceCodes
        >>> codes = FaceCodes.zeros(1, n_shape=2, n_tex=1, n_exp=1, space="example")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with StoreWriter(folder + "/anna.h5", {"encoder": "none"}) as writer:
        ...         writer.add("1.jpg", codes=codes.replace(shape=torch.tensor([[0.0, 2.0]])))
        ...         writer.add("2.jpg", codes=codes.replace(shape=torch.tensor([[1.0, 4.0]])))
        ...     _ = merge(folder + "/anna.h5")
        ...     mean_shape(CodeStore(folder + "/anna.h5"))
        tensor([0.5000, 3.0000])
    """
    chosen = np.ones(len(store), bool)
    if faces is not None:
        chosen[:] = False
        chosen[np.asarray(faces)] = True
    chosen &= store.coded
    if not chosen.any():
        raise ValueError(f"{store.path}: a mean shape needs at least one face with codes, got none")
    shapes = store.column("shape")[chosen]
    return torch.from_numpy(shapes.astype(np.float64).mean(axis=0)).float()


def group_by_identity(store: CodeStore) -> dict[str, NDArray[np.int64]]:
    """Numbers of each person's faces.

    A person is what a face's note calls `identity`; without that, the folder that its photo lies in, for albums are
    kept as `anna/1.jpg`. Photos that lie in no folder belong to nobody, named "".

    Args:
        store: the faces.

    Returns:
        Persons by name, each with the numbers of the faces in ascending order.
    """
    groups: dict[str, list[int]] = {}
    for number, note in enumerate(store.notes()):
        path = str(note.get("path", note["key"]))
        name = str(note.get("identity", path.rpartition("/")[0]))
        groups.setdefault(name, []).append(number)
    return {name: np.array(groups[name], np.int64) for name in sorted(groups)}


def mean_shapes(store: CodeStore) -> dict[str, Float[Tensor, " n_shape"]]:
    """Mean shape code of each person who has faces with codes; persons as in `group_by_identity`."""
    coded = store.coded
    groups = group_by_identity(store)
    return {name: mean_shape(store, numbers) for name, numbers in groups.items() if coded[numbers].any()}
