"""Predicted codes to a code store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import BasePredictionWriter

from diffrig_emo.datasets import StoreWriter, merge
from diffrig_emo.structures import FaceCodes, FaceCrop, StructError


class StoreWriterCallback(BasePredictionWriter):
    """Write the codes that a `FaceEncoder` predicts to a code store.

    Every process writes parts of its own; at the end the first one makes one file of them. A run that was killed and
    is started again may predict faces that are stored: they are not stored twice.

    Batches are as in `FaceBatch`. Besides its codes a face keeps what the batch has of `path`, `source`, `label`, `va`,
    `landmarks`, and of its `crop` the way from the photo and the quality; of a `PhotoBatch` also `key`, `jpeg` and
    `skipped`. Without `key`, the path is what tells a face from all others.

    Args:
        path: the store, new or to be added to.
        provenance: what says how the codes come about, of plain JSON values; `encoder` at least.
        flush_every: faces in a part: so many are done again, at most, after a kill.
    """

    def __init__(self, path: str, provenance: dict[str, Any], flush_every: int = 256) -> None:
        super().__init__(write_interval="batch")
        self.path = Path(path)
        self.provenance = provenance
        self.flush_every = flush_every
        self._writer: StoreWriter | None = None

    def open(self, rank: int = 0) -> StoreWriter:
        """The store, locked for this process; opened by the first call.

        Raises:
            StoreLockedError: when another process writes the store with this rank.
            ValueError: when `path` holds something else, or parts of a run with another provenance.
            OSError: when nothing can be written there.
        """
        if self._writer is None:
            try:
                self._writer = StoreWriter(self.path, self.provenance, rank=rank, flush_every=self.flush_every)
            except OSError as error:
                if error.strerror is None or str(self.path) in error.strerror:
                    raise  # says so itself
                raise OSError(
                    error.errno, f"{self.path}: a store cannot be written there ({error.strerror}); choose another path"
                ) from error
        return self._writer

    def close(self, error: BaseException | None = None) -> None:
        """Write what is pending, unless `error` says that the disk is full, and unlock the store."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.__exit__(None if error is None else type(error), error, None)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Open the store, once the process knows its rank."""
        super().setup(trainer, pl_module, stage)
        if stage == "predict":
            self.open(trainer.global_rank)

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the codes of one batch."""
        self.write(prediction, batch)

    def write(self, codes: FaceCodes, batch: Mapping[str, Any]) -> None:
        """Write the codes of one batch; faces whose codes are not finite are listed as skipped."""
        writer = self.open()
        for key, reason in batch.get("skipped", ()):
            if key not in writer:
                writer.skip(key, reason)
        codes = codes.to("cpu")
        crop = batch["crop"].to("cpu") if "crop" in batch else None
        for i, key in enumerate(batch["key"] if "key" in batch else batch["path"]):
            if writer.has_codes(key):
                continue
            try:
                face = codes[i].require_finite()
            except StructError as error:
                writer.skip(key, str(error))
            else:
                writer.add(key, codes=face, **_about(key, batch, crop, i))

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make one store of all parts, when every process has written its own."""
        self.close()
        trainer.strategy.barrier("parts of the store are written")
        if trainer.is_global_zero:
            merge(self.path)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Keep the faces that are complete; the same command goes on from there."""
        self.close(exception)


def _about(key: str, batch: Mapping[str, Any], crop: FaceCrop | None, i: int) -> dict[str, Any]:
    """What `StoreWriter.add` takes of face `i`, besides its codes."""
    found: dict[str, Any] = {"source": batch["source"][i]} if "source" in batch else {}
    if "path" in batch and batch["path"][i] != key:
        found["path"] = batch["path"][i]
    if "jpeg" in batch:
        found["image"] = batch["jpeg"][i].tobytes()
    if "label" in batch:
        found["label"] = int(batch["label"][i])
    if "va" in batch:
        found["va"] = tuple(batch["va"][i].tolist())
    if "landmarks" in batch and not torch.isnan(batch["landmarks"][i]).all():
        found["landmarks"] = batch["landmarks"][i]
    if crop is not None:
        found["quality"] = {name: float(values[i]) for name, values in crop.quality.items()}
        if crop.photo_to_aligned is not None:
            found["photo_to_aligned"] = crop.photo_to_aligned[i]
    return found
