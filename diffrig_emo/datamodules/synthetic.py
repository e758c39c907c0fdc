"""Synthetic photographs in batches, made once and kept in memory, or made anew as they are asked for."""

from __future__ import annotations

import os

import torch
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from diffrig_emo.datamodules.base import FaceDataModule
from diffrig_emo.datasets.sampling import SceneSampler, ShuffledSampler
from diffrig_emo.structures import FaceBatch, face_collate
from diffrig_emo.synthesis import SyntheticFaces, SyntheticScenes
from diffrig_emo.synthesis.population import N_EMOTIONS
from diffrig_emo.transforms.edits import transfer_expression


class SyntheticFacesDataModule(FaceDataModule):
    """Faces from `SyntheticFaces`: other people in training, validation and test.

    The faces to predict are those of the test split, each with the expression of the next one as
    `target_codes`.

    Args:
        num_train: training photographs.
        num_val: validation photographs.
        num_test: test photographs.
        image_size: side of the photographs in pixels.
        images_per_identity: training photographs per person.
        batch_size: faces per batch and process.
        num_workers: loading processes.
        seed: fixes the people and the order of training.
        in_memory: make the training photographs once, before training (12 KB each at 64 pixels);
            otherwise they are made anew whenever they are loaded, for sets larger than memory.
        faces_per_scene: train on `SyntheticScenes`, num_train / 8 faces with each of eight emotions; a batch holds so
            many photographs of a face in a row, as `SceneContrast` wants them. None: on `SyntheticFaces`.

    Raises:
        ValueError: when a number is out of range, or scenes would be torn apart.
    """

    def __init__(
        self,
        num_train: int = 3000,
        num_val: int = 64,
        num_test: int = 32,
        image_size: int = 64,
        images_per_identity: int = 1,
        batch_size: int = 16,
        num_workers: int = 0,
        seed: int = 0,
        in_memory: bool = True,
        faces_per_scene: int | None = None,
    ) -> None:
        super().__init__(batch_size, num_workers, seed)
        for name, value in {"num_train": num_train, "num_val": num_val, "num_test": num_test}.items():
            if value < 1:
                raise ValueError(f"SyntheticFacesDataModule: {name} must be at least 1, got {value}")
        self.image_size = image_size
        self.in_memory = in_memory
        self.faces_per_scene = faces_per_scene
        # Three seeds, so that nobody of one split is met in another.
        self.train_faces: SyntheticFaces
        if faces_per_scene is None:
            self.train_faces = SyntheticFaces(num_train, image_size, 3 * seed, images_per_identity)
        else:
            _check_scenes(faces_per_scene, num_train, batch_size, images_per_identity)
            self.train_faces = SyntheticScenes(num_train // N_EMOTIONS, image_size, 3 * seed)
        self.val_faces = SyntheticFaces(num_val, image_size, 3 * seed + 1)
        self.test_faces = SyntheticFaces(num_test, image_size, 3 * seed + 2)
        self.val_dataset = self.val_faces
        self.test_dataset = self.test_faces
        self.predict_dataset = ExpressionPairs(self.test_faces)

    def setup(self, stage: str | None = None) -> None:
        """Make the training photographs, the first time that training is set up."""
        if stage != "fit" or hasattr(self, "train_dataset"):
            return
        self.train_dataset = self.train_faces
        if self.in_memory:
            self.train_dataset = FacesInMemory(self.train_faces)
            self.val_dataset = FacesInMemory(self.val_faces)

    def _train_sampler(self, world_size: int, rank: int) -> ShuffledSampler:
        if self.faces_per_scene is None:
            return super()._train_sampler(world_size, rank)
        scenes = len(self.train_faces) // N_EMOTIONS
        return SceneSampler(scenes, N_EMOTIONS, self.faces_per_scene, world_size, rank, self.seed)


def _check_scenes(faces_per_scene: int, num_train: int, batch_size: int, images_per_identity: int) -> None:
    if not 1 <= faces_per_scene <= N_EMOTIONS or batch_size % faces_per_scene:
        raise ValueError(
            f"faces_per_scene: expected 1 to {N_EMOTIONS} and a batch_size that is a multiple of it, got "
            f"{faces_per_scene} and batch_size={batch_size}"
        )
    if num_train % N_EMOTIONS or images_per_identity != 1:
        raise ValueError(
            f"faces_per_scene: expected num_train to be a multiple of {N_EMOTIONS}, the emotions of every scene, and "
            f"one image per identity, got num_train={num_train}, images_per_identity={images_per_identity}"
        )


class FacesInMemory(Dataset[FaceBatch]):
    """Synthetic faces made once; pictures are kept as 8-bit numbers, which is exact.

    Args:
        faces: the faces, with camera noise: their pictures are multiples of 1/255.
    """

    def __init__(self, faces: SyntheticFaces) -> None:
        pictures, items = [], []
        # One process per core: a face is made of many small operations, which threads do not speed up.
        workers = min(8, os.cpu_count() or 1) if len(faces) >= 256 else 0
        loader = DataLoader(faces, batch_size=16, num_workers=workers, collate_fn=face_collate)
        for batch in track(loader, description="Photographs"):
            pictures.append((batch["image"] * 255).round().to(torch.uint8))
            items += [
                FaceBatch(codes=codes, label=label, va=va, landmarks=landmarks, index=index)
                for codes, label, va, landmarks, index in zip(
                    batch["codes"], batch["label"], batch["va"], batch["landmarks"], batch["index"], strict=True
                )
            ]
        self.pictures = torch.cat(pictures)
        self.items = items

    def __len__(self) -> int:
        """Number of faces."""
        return len(self.items)

    def __getitem__(self, index: int) -> FaceBatch:
        """One face, as `SyntheticFaces` gives it."""
        return FaceBatch(image=self.pictures[index].float() / 255, **self.items[index])


class ExpressionPairs(Dataset[FaceBatch]):
    """Every face with the expression of the next one as its target.

    Args:
        faces: the faces.
    """

    def __init__(self, faces: SyntheticFaces) -> None:
        self.faces = faces

    def __len__(self) -> int:
        """Number of faces."""
        return len(self.faces)

    def __getitem__(self, index: int) -> FaceBatch:
        """One face, and the next face's expression as its target: codes, emotion, valence and arousal."""
        item = self.faces[index]
        following = self.faces.truth([(index + 1) % len(self.faces)])
        return FaceBatch(
            **item,
            target_codes=transfer_expression(item["codes"], following["codes"]),
            target_label=following["label"][0],
            target_va=following["va"][0],
        )
