"""One writer at a time: a lock file that says who holds it, and that a killed process cannot leave locked."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path


class StoreLockedError(OSError):
    """Another process is writing the same store."""


_PATIENCE = 600.0
"""Seconds after which an owner on another host that shows no life counts as dead."""

_HELD: set[Path] = set()
"""Locks of this process: to the kernel, a process never excludes itself."""


class StoreLock:
    """A lock file with the owner's host and process number.

    The operating system frees the lock when its process ends, however that ends, and does not pass it on to
    workers that the process forks. What the file says is for people, and for file systems that do not tell other
    hosts about locks: an owner on another host is believed for ten minutes after its last sign of life.

    Args:
        path: the lock file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._descriptor = -1
        self._last_sign = 0.0

    def acquire(self, wait: float = 0.0) -> None:
        """Take the lock, also from a process that was killed.

        Args:
            wait: seconds to wait for a process that holds it.

        Raises:
            StoreLockedError: when a living process holds it, or one on another host did not give it back.
        """
        deadline = time.monotonic() + wait
        while (owner := self._try()) is not None:
            if time.monotonic() >= deadline:
                raise StoreLockedError(
                    f"{self.path.parent}: {owner} is writing this store. Wait for it or write another one; if that "
                    f"process no longer runs, delete {self.path}"
                )
            time.sleep(0.05)

    def show_life(self) -> None:
        """Tell other hosts, now and then, that the owner is still at work."""
        if self._descriptor >= 0 and time.monotonic() - self._last_sign > _PATIENCE / 20:
            os.utime(self._descriptor)
            self._last_sign = time.monotonic()

    def release(self) -> None:
        """Give the lock back; nothing happens when it is not held."""
        if self._descriptor >= 0:
            self.path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1
            _HELD.discard(self.path)

    def _try(self) -> str | None:
        """Take the lock and return nothing, or return who has it."""
        import fcntl  # not on Windows, where stores can be read but not written

        if self.path in _HELD:
            return f"this process (pid {os.getpid()})"
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        owner = _read_owner(descriptor)
        silence = time.time() - os.fstat(descriptor).st_mtime
        taken = bool(owner) and owner.get("host") != socket.gethostname() and silence < _PATIENCE
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            taken = True
        if taken:
            os.close(descriptor)
            return "pid {pid} on {host}, since {since},".format(**owner) if owner else "another process"
        if not self.path.exists() or self.path.stat().st_ino != os.fstat(descriptor).st_ino:
            os.close(descriptor)  # removed by its owner meanwhile: it would lock nobody out
            return self._try()
        me = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(me).encode(), 0)
        self._descriptor = descriptor
        self._last_sign = time.monotonic()
        _HELD.add(self.path)
        return None


def _read_owner(descriptor: int) -> dict[str, str]:
    try:
        owner = json.loads(os.pread(descriptor, 1000, 0) or "{}")
    except ValueError:
        return {}  # killed while it wrote its name
    return owner if {"host", "pid", "since"} <= set(owner) else {}
