"""Caches made by DiffusionRig's `create_data.py`: pictures and rendered buffers in an LMDB folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from diffrig_emo.datasets.lmdb_files import SharedLmdb, open_lmdb
from diffrig_emo.datasets.pictures import decode_strictly, to_tensor
from diffrig_emo.io.mean_shape import read_mean_shape
from diffrig_emo.io.safe_pickle import loads_pickle
from diffrig_emo.structures import FaceBatch, PhysicalBuffers


class BufferedFace(FaceBatch, total=False):
    """A face with the buffers that were rendered for it."""

    buffers: PhysicalBuffers
    """As cached; the mask, which is not, is where the normal is not zero."""


class DiffusionRigLMDB(Dataset[BufferedFace]):
    """The records of a DiffusionRig or DiffusionRig-EMO cache, read without running pickled code.

    The data base is opened read-only and without locks; worker processes read at once, whether forked or spawned. A
    cache holds no codes: use it for its pictures, or for its buffers as they are; `diffrig-emo import-lmdb` makes a
    code store of it.

    Needs the package `lmdb`: `pip install "diffrig_emo[lmdb]"`.

    Args:
        path: the folder with `data.mdb`.
        with_buffers: also read the buffers, 2.4 MB a face at 256 pixels.

    Raises:
        FileNotFoundError: when there is no `data.mdb`.
        ValueError: when the data base is damaged, truncated or not DiffusionRig's.
        ImportError: when `lmdb` is not installed.
    """

    def __init__(self, path: str | Path, with_buffers: bool = False) -> None:
        self.path = Path(path)
        self.with_buffers = with_buffers
        self._shared: SharedLmdb | None = None
        self.length = self._count()

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> BufferedFace:
        number = index + self.length if index < 0 else index
        if not 0 <= number < self.length:
            raise IndexError(f"face {index} of {self.path}, which has {self.length}")
        item = BufferedFace(
            image=self.image(number),
            path=self.key(number),  # type: ignore[typeddict-item]
            index=torch.tensor(number),
            source=self.path.name,  # type: ignore[typeddict-item]
        )
        if self.with_buffers:
            item["buffers"] = self.buffers(number)
        return item

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_shared": None}

    @staticmethod
    def key(number: int) -> str:
        """Name of a face's picture in the data base."""
        return f"image_{number:06d}"

    def image_bytes(self, number: int) -> bytes:
        """The picture of a face as it is stored, PNG.

        Raises:
            ValueError: when the record is missing.
        """
        return self._record(self.key(number))

    def image(self, number: int) -> Float[Tensor, "3 height width"]:
        """The picture of a face, RGB in [0, 1].

        Raises:
            ValueError: when the record is missing or no complete picture.
        """
        try:
            return to_tensor(decode_strictly(self.image_bytes(number)))
        except ValueError as error:
            raise ValueError(f"{self.path}, record {self.key(number)}: {error}") from error

    def buffers(self, number: int) -> PhysicalBuffers:
        """The cached buffers of a face, batch size 1.

        Raises:
            ValueError: when a record is missing, damaged or no picture of floats.
            RefusedPickleError: when a record is a pickle of something else than a tensor.
        """
        maps = {name: self._tensor(f"{name}_{number:06d}") for name in ("rendered", "normal", "albedo")}
        covered = maps["normal"].ne(0).any(0).float()
        return PhysicalBuffers(**{name: tensor[None] for name, tensor in maps.items()}, mask=covered[None, None])

    def mean_shape(self) -> Float[Tensor, " n_shape"] | None:
        """Mean shape code of the album, from `mean_shape.pkl` beside the data base; None when there is no such file.

        Raises:
            ValueError: when the file is damaged or holds something else.
            RefusedPickleError: when it is a pickle of something else than a tensor.
        """
        path = self.path / "mean_shape.pkl"
        return read_mean_shape(path) if path.is_file() else None

    def _tensor(self, key: str) -> Tensor:
        value = loads_pickle(self._record(key), f"{self.path}, record {key}")
        if not isinstance(value, Tensor) or value.ndim != 3 or not value.is_floating_point():
            kind = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"{self.path}, record {key}: expected a float tensor (3, height, width), got {kind}")
        whole = value.untyped_storage().nbytes() == value.nbytes
        # A cache may hold views of batches: without a copy, each face would keep its whole batch alive.
        return (value if whole else value.clone()).float()

    def _record(self, key: str) -> bytes:
        with self._opened().begin() as transaction:
            data: bytes | None = transaction.get(key.encode())
        if data is None:
            raise ValueError(f"{self.path}: expected a record {key}, got none; the cache was never completed")
        return data

    def _count(self) -> int:
        with self._opened().begin() as transaction:
            length = transaction.get(b"length")
            if length is not None:
                return int(length)
            # Written last by the original: without it the cache was never completed, but the faces are there.
            cursor = transaction.cursor()
            found = cursor.prev() if cursor.set_range(b"image_:") else cursor.last()  # ':' follows '9'
            name = cursor.key().decode(errors="replace") if found else ""
        if not name.startswith("image_"):
            raise ValueError(f"{self.path}: expected DiffusionRig's cache, got a data base without `image_*` records")
        return int(name.removeprefix("image_")) + 1

    def _opened(self) -> Any:
        # A worker that is forked reads through its parent's mapping, which has no locks to share; one that is
        # spawned opens its own.
        if self._shared is None:
            self._shared = open_lmdb(self.path, "DiffusionRigLMDB")
        return self._shared.environment
