"""Predicted codes to a code store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from diffrig_emo.conditioning.landmarks import landmarks_from_codes
from diffrig_emo.datasets import StoreWriter, merge
from diffrig_emo.morphable.base import FaceModel
from diffrig_emo.structures import FaceCodes, FaceCrop, StructError


class StoreWriterCallback(BasePredictionWriter):
    """Write the codes that a `FaceEncoder` predicts to a code store.

    Every process writes parts of its own; at the end the first one makes one file of them. A run that was killed and
    is started again may predict faces that are stored: they are not stored twice.

    Batches are as in `FaceBatch`. Besides its codes a face keeps what the batch has of `path`, `source`, `label`, `va`,
    `landmarks`, and of its `crop` the landmarks, the way from the photo and the quality; of a `PhotoBatch` also `key`,
    `jpeg`, `notes` and `skipped`. Without `key`, the path is what tells a face from all others.

    Where no landmarks of the photo are known and a face model is given, those of the encoded mesh are stored, and the
    column `quality_landmarks` is 0 to say so: good enough to align or to crop again, no truth to judge an encoder by.

    Args:
        path: the store, new or to be added to.
        provenance: what says how the codes come about, of plain JSON values; `encoder` at least.
        flush_every: faces in a part: so many are done again, at most, after a kill.
        face_model: model of the codes' space, for the landmarks of its meshes; None stores none of those.
        image_size: side of the aligned pictures in pixels, needed for those landmarks where the encoder sees the
            aligned pictures whole.
    """

    def __init__(
        self,
        path: str,
        provenance: dict[str, Any],
        flush_every: int = 256,
        face_model: FaceModel | None = None,
        image_size: int = 256,
    ) -> None:
        super().__init__(write_interval="batch")
        self.path = Path(path)
        self.provenance = provenance
        self.flush_every = flush_every
        self.face_model = face_model
        self.image_size = image_size
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
        crop = batch["crop"].to("cpu") if "crop" in batch else None
        meshes = self._mesh_landmarks(codes, batch, crop)
        codes = codes.to("cpu")
        for i, key in enumerate(batch["key"] if "key" in batch else batch["path"]):
            if writer.has_codes(key):
                continue
            try:
                face = codes[i].require_finite()
            except StructError as error:
                writer.skip(key, str(error))
            else:
                writer.add(key, codes=face, **_about(key, batch, crop, meshes, i))

    def _mesh_landmarks(self, codes: FaceCodes, batch: Mapping[str, Any], crop: FaceCrop | None) -> Tensor | None:
        """Landmarks of the encoded meshes on the aligned pictures; None when no face of the batch needs them."""
        if self.face_model is None or all(_landmarks(batch, crop, i) is not None for i in range(codes.batch_size)):
            return None
        # Without a transform, the encoder sees the aligned picture, resized.
        size = self.image_size if codes.tform is None or crop is None else crop.image.shape[-1]
        with torch.no_grad():
            return landmarks_from_codes(codes, self.face_model.to(codes.cam.device), size).cpu()

    def on_predict_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Make one store of all parts, when every process has written its own."""
        self.close()
        trainer.strategy.barrier("parts of the store are written")
        if trainer.is_global_zero:
            merge(self.path)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Keep the faces that are complete; the same command goes on from there."""
        self.close(exception)


def _landmarks(batch: Mapping[str, Any], crop: FaceCrop | None, i: int) -> Tensor | None:
    """Landmarks that are known of face `i`, if any."""
    known = (batch.get("landmarks"), None if crop is None else crop.landmarks)
    return next((points[i].cpu() for points in known if points is not None and not points[i].isnan().all()), None)


def _about(key: str, batch: Mapping[str, Any], crop: FaceCrop | None, meshes: Tensor | None, i: int) -> dict[str, Any]:
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
    if "notes" in batch:
        found["notes"] = batch["notes"][i]
    quality = {} if crop is None else {name: float(values[i]) for name, values in crop.quality.items()}
    found["landmarks"] = _landmarks(batch, crop, i)
    if found["landmarks"] is None and meshes is not None:
        found["landmarks"] = meshes[i]
        quality["landmarks"] = 0.0
    found["quality"] = quality
    if crop is not None and crop.photo_to_aligned is not None:
        found["photo_to_aligned"] = crop.photo_to_aligned[i]
    return found
