"""Opening LMDB data bases, once a process."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

from diffrig_emo.utils.imports import require


class SharedLmdb:
    """An open data base; LMDB lets a process open a folder only once."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment


_OPEN: weakref.WeakValueDictionary[Path, SharedLmdb] = weakref.WeakValueDictionary()


def open_lmdb(path: Path, purpose: str) -> SharedLmdb:
    """Open an LMDB folder for reading, or share what this process has open already.

    Args:
        path: the folder with `data.mdb`.
        purpose: what needs it, for the message when the package `lmdb` is missing.

    Raises:
        ImportError: when the package `lmdb` is missing, with the command that installs it.
        FileNotFoundError: when the folder has no `data.mdb`.
        ValueError: when the data base is damaged or truncated.
    """
    place = path.resolve()
    shared = _OPEN.get(place)
    if shared is None:
        shared = _OPEN[place] = SharedLmdb(_open(path, purpose))
    return shared


def _open(path: Path, purpose: str) -> Any:
    lmdb = require("lmdb", purpose=purpose, install='pip install "diffrig_emo[lmdb]"')
    data = path / "data.mdb"
    if not data.is_file():
        raise FileNotFoundError(f"{path}: expected a folder with an LMDB data base, `data.mdb`")
    try:
        environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False, create=False)
    except lmdb.Error as error:
        raise ValueError(f"{data}: cannot be opened as an LMDB data base ({error}); copy the folder again") from error
    # Reading beyond the end of a mapped file kills the process, so ask before.
    wanted = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    size = data.stat().st_size
    if size < wanted:
        environment.close()
        raise ValueError(f"{data}: expected {wanted:,} bytes, got {size:,}: it is truncated; copy it again")
    return environment
