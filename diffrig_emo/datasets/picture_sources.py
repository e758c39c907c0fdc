"""Where a data set's encoded pictures lie: in a folder, a zip file or DiffAE's LMDB."""

from __future__ import annotations

import os
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.datasets.lmdb_files import SharedLmdb, open_lmdb
from diffrig_emo.datasets.pictures import decode_strictly, to_tensor
from diffrig_emo.io.images import read_image, read_zoom

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Endings of pictures, in lower case; any case is accepted."""


class Texts(Sequence[str]):
    """Many texts in two arrays: worker processes share them, where a list would be copied object by object.

    Args:
        texts: the texts.

    Example:
        >>> texts = Texts(["one", "", "drei"])
        >>> len(texts), texts[2], list(texts)
        (3, 'drei', ['one', '', 'drei'])
    """

    def __init__(self, texts: Sequence[str]) -> None:
        encoded = [text.encode() for text in texts]
        self._bytes = np.frombuffer(b"".join(encoded), np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[str]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> Any:
        """One text."""
        number = range(len(self))[index]
        return self._bytes[self._ends[number] : self._ends[number + 1]].tobytes().decode()


class PictureSource(ABC):
    """Encoded pictures by name."""

    path: Path
    """Where they lie."""

    @abstractmethod
    def names(self) -> list[str]:
        """Names of all pictures, sorted, with `/` between folders."""

    @abstractmethod
    def read(self, name: str) -> Float[Tensor, "3 height width"]:
        """One picture, RGB in [0, 1].

        Raises:
            FileNotFoundError: when it is not there.
            ValueError: when it is no complete picture of 8 bits per channel.
        """

    def zoom(self, name: str) -> float:
        """Size of a picture as `read` gives it, relative to that of its file: 1, or less for a huge photo."""
        del name
        return 1.0


class FolderPictures(PictureSource):
    """Pictures in a folder and the folders in it.

    Args:
        path: the folder; names are relative to it.
        only: the folder in it to look at; empty takes all.
    """

    def __init__(self, path: str | Path, only: str = "") -> None:
        self.path = Path(path)
        self.only = only

    def names(self) -> list[str]:
        """Names of all pictures; hidden files and folders do not count."""
        found = []
        for folder, folders, files in os.walk(self.path / self.only):
            folders[:] = [name for name in folders if not name.startswith(".")]
            place = Path(folder).relative_to(self.path)
            found += [(place / f).as_posix() for f in files if f.lower().endswith(SUFFIXES) and f[0] != "."]
        return sorted(found)

    def read(self, name: str) -> Float[Tensor, "3 height width"]:
        """One picture."""
        return read_image(self.path / name)

    def zoom(self, name: str) -> float:
        """Size of a picture as it is read: photos of more than `io.images.MAX_PIXELS` are halved."""
        return read_zoom(self.path / name)


class ZipPictures(PictureSource):
    """Pictures in a zip file, as StyleGAN's `dataset_tool` makes it.

    Args:
        path: the zip file.

    Raises:
        ValueError: when it is no complete zip file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._zip: tuple[int, zipfile.ZipFile] | None = None
        self._opened()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_zip": None}

    def names(self) -> list[str]:
        """Names of all pictures."""
        return sorted(name for name in self._opened().namelist() if name.lower().endswith(SUFFIXES))

    def read(self, name: str) -> Float[Tensor, "3 height width"]:
        """One picture."""
        try:
            return to_tensor(decode_strictly(self._opened().read(name)))
        except KeyError:
            raise FileNotFoundError(f"{self.path}: no picture {name!r} in it") from None
        except (ValueError, zipfile.BadZipFile, OSError) as error:
            raise ValueError(f"{self.path}, {name}: {error}") from error

    def _opened(self) -> zipfile.ZipFile:
        # A forked worker opens its own: through its parent's file, one would move the other's position.
        if self._zip is None or self._zip[0] != os.getpid():
            try:
                self._zip = os.getpid(), zipfile.ZipFile(self.path)
            except zipfile.BadZipFile as error:
                raise ValueError(f"{self.path}: expected a complete zip file ({error}); copy it again") from error
        return self._zip[1]


class LmdbPictures(PictureSource):
    """Pictures in an LMDB folder as DiffAE makes it: records `256-00000`, `256-00001`, ..., and `length`.

    Needs the package `lmdb`: `pip install "diffrig_emo[lmdb]"`.

    Args:
        path: the folder with `data.mdb`.

    Raises:
        ValueError: when it is damaged, truncated or holds other records.
        ImportError: when `lmdb` is not installed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._shared: SharedLmdb | None = None
        self.names()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_shared": None}

    def names(self) -> list[str]:
        """Names of all pictures."""
        with self._opened().begin() as transaction:
            names = [key.decode(errors="replace") for key in transaction.cursor().iternext(values=False)]
        found = sorted(name for name in names if name.replace("-", "", 1).isdigit() and "-" in name)
        if not found:
            raise ValueError(f"{self.path}: expected DiffAE's records such as '256-00000', got {names[:3]}")
        return found

    def read(self, name: str) -> Float[Tensor, "3 height width"]:
        """One picture."""
        with self._opened().begin() as transaction:
            data = transaction.get(name.encode())
        if data is None:
            raise FileNotFoundError(f"{self.path}: no record {name!r} in it")
        try:
            return to_tensor(decode_strictly(data))
        except ValueError as error:
            raise ValueError(f"{self.path}, record {name}: {error}") from error

    def _opened(self) -> Any:
        if self._shared is None:
            self._shared = open_lmdb(self.path, "LmdbPictures")
        return self._shared.environment
