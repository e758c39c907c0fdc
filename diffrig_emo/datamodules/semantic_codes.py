"""Semantic codes of faces in batches: the pictures are encoded once, by a frozen encoder."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diffrig_emo.datamodules.base import FaceDataModule
from diffrig_emo.diffusion import SemanticEncoder, load_semantic_encoder
from diffrig_emo.structures import FaceBatch, face_collate
from diffrig_emo.transforms.ranges import to_signed


class SemanticCodesDataModule(FaceDataModule):
    """The faces of another DataModule as semantic codes, with their labels: what latent priors and classifiers learn.

    The pictures of each part are encoded once before training, on the device that trains, in the order of the data set;
    a resumed run encodes them again. 70,000 codes of 512 numbers are 143 MB.

    Args:
        faces: the faces; its `num_workers` load the pictures, its `batch_size` is that of encoding.
        encoder: an encoder of the build of the autoencoder; it learns nothing here.
        encoder_weights: the trained autoencoder: an official checkpoint, or one of ours.
        mirrored: also train on the code of every training picture's mirror image.
        batch_size: codes per batch and process.
        seed: with the epoch, fixes the order of training.

    Raises:
        FileNotFoundError: at setup, when there is no such autoencoder.
        ValueError: at setup, when it is of another build, or the pictures are not of the encoder's size.

    Example:
        ```python
        faces = SyntheticFacesDataModule(num_train=2500, image_size=64)
        codes = SemanticCodesDataModule(faces, SemanticEncoder(64, 16, (1, 2, 4, 4, 8)), "last.ckpt")
        ```
    """

    def __init__(
        self,
        faces: FaceDataModule,
        encoder: SemanticEncoder,
        encoder_weights: str,
        mirrored: bool = False,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed=seed)
        self.faces = faces
        self.encoder = encoder.requires_grad_(False).eval()
        self.encoder_weights = encoder_weights
        self.mirrored = mirrored
        self._is_loaded = False

    def prepare_data(self) -> None:
        """What the faces prepare once."""
        self.faces.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """Encode the parts that are needed."""
        if not self._is_loaded:
            load_semantic_encoder(self.encoder, self.encoder_weights)
            self._is_loaded = True
        self.faces.setup(stage)  # type: ignore[arg-type]  # Lightning's own data modules take None too
        if stage in (None, "fit") and not hasattr(self, "train_dataset"):
            self.train_dataset = self._encoded(self.faces.train_dataset, self.mirrored)
        if stage in (None, "fit", "validate") and not hasattr(self, "val_dataset"):
            self.val_dataset = self._encoded(self.faces.val_dataset)
        if stage in (None, "test") and not hasattr(self, "test_dataset"):
            self.test_dataset = self._encoded(self.faces.test_dataset)
        if stage in (None, "predict") and not hasattr(self, "predict_dataset"):
            self.predict_dataset = self._encoded(self.faces.predict_dataset)

    def train_groups(self) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """Groups and shares of the faces' own DataModule; a mirror image is of its picture's group."""
        balanced = self.faces.train_groups()
        if balanced is None or not self.mirrored:
            return balanced
        return np.tile(balanced[0], 2), balanced[1]

    def _encoded(self, dataset: Dataset[FaceBatch], mirrored: bool = False) -> EncodedFaces:
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        workers = self.faces.num_workers
        loader = DataLoader(dataset, self.faces.batch_size, num_workers=workers, collate_fn=face_collate)
        try:
            return EncodedFaces.encode(self.encoder.to(device), loader, device, mirrored)
        finally:
            self.encoder.cpu()


class EncodedFaces(Dataset[FaceBatch]):
    """Semantic codes with the labels of their pictures.

    Args:
        codes: one of each face.
        labels: emotion of each, -1 where unknown.
    """

    def __init__(self, codes: Float[Tensor, "faces dim"], labels: NDArray[np.int64]) -> None:
        self.codes = codes
        self.labels = labels

    @classmethod
    @torch.no_grad()
    def encode(
        cls, encoder: SemanticEncoder, loader: DataLoader[FaceBatch], device: torch.device, mirrored: bool = False
    ) -> EncodedFaces:
        """Encode all pictures of a loader, then, if wanted, their mirror images behind them.

        Raises:
            ValueError: when the pictures are not of the encoder's size.
        """
        rounds: list[list[Tensor]] = [[] for _ in range(1 + mirrored)]
        labels: list[Tensor] = []
        for batch in track(loader, description="Semantic codes"):
            image = to_signed(batch["image"].to(device))
            for codes, picture in zip(rounds, (image, image.flip(-1)), strict=False):
                codes.append(encoder(picture).cpu())
            labels.append(batch.get("label", torch.full((len(image),), -1)))
        known = np.tile(torch.cat(labels).numpy(), len(rounds))
        return cls(torch.cat([code for codes in rounds for code in codes]), known)

    def __len__(self) -> int:
        """Number of codes."""
        return len(self.codes)

    def __getitem__(self, index: int) -> FaceBatch:
        """One code, its label and its number."""
        return FaceBatch(
            semantic=self.codes[index], label=torch.tensor(int(self.labels[index])), index=torch.tensor(index)
        )
