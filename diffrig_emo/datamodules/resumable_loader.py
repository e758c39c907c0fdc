"""A training loader that goes on in the middle of an epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader

from diffrig_emo.structures import FaceBatch


class ResumableLoader(DataLoader[FaceBatch]):
    """Knows which batches of the epoch have been handed out, and leaves them out after a restart.

    Lightning keeps `state_dict` in every checkpoint. What workers have loaded ahead does not count, because nobody
    has trained on it. The skipped faces are not loaded.

    Its sampler is a `ShuffledSampler` or `BalancedSampler`.
    """

    _given = 0
    _interrupted: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[FaceBatch]:  # type: ignore[override]
        # All of this runs with the first batch. Lightning makes the iterator of a resumed run before it tells the
        # sampler the epoch, and workers ask for the order at once.
        epoch = getattr(self.sampler, "epoch", None)
        interrupted, self._interrupted = self._interrupted, None
        self._given = interrupted[1] if interrupted is not None and interrupted[0] == epoch else 0
        if self._given:
            self.sampler.start = self._given * (self.batch_size or 1)  # type: ignore[attr-defined]
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and its batches that were handed out."""
        return {"epoch": getattr(self.sampler, "epoch", None), "given": self._given}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Leave out the batches that were handed out, if the next epoch is the one that was interrupted."""
        self._interrupted = state_dict["epoch"], state_dict["given"]
