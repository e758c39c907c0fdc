"""The data set of synthetic photographs with truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from diffrig_emo.morphable.synthetic_head import SyntheticHead, SyntheticTexture
from diffrig_emo.renderer import Rasterizer, TorchRasterizer
from diffrig_emo.structures import FaceBatch, FaceCodes, face_collate
from diffrig_emo.synthesis.camera import expose
from diffrig_emo.synthesis.nuisances import Nuisances
from diffrig_emo.synthesis.population import Sitter, draw_sitter
from diffrig_emo.synthesis.studio import Studio
from diffrig_emo.transforms.projection import project

_SAMPLES_AT_ONCE = 2**17  # per rasterizer call: keeps a CPU's working set inside its cache


class SyntheticFaces(Dataset[FaceBatch]):
    """Photographs of random people, with true codes, emotion, valence, arousal and landmarks.

    The head is a `SyntheticHead`; the photograph shows in addition what physical buffers do not carry:
    background, hair, glasses, clothes, freckles, highlights and cast shadows, then sensor noise and JPEG.
    Face `i` depends on `(seed, i)` alone: not on the order, the batch size or the worker that asks for it.

    Args:
        num_faces: number of photographs.
        image_size: side of the square photographs in pixels.
        seed: another seed gives other people.
        images_per_identity: photographs of each person in a row, with other expressions, poses, lights and
            backgrounds: an album. Photograph `i` shows person `i // images_per_identity`.
        supersample: pixels are averages of `supersample` x `supersample` samples.
        noise: add sensor noise and JPEG.
        face_model: the morphable head; None makes a `SyntheticHead`.
        texture: its albedo; None makes a `SyntheticTexture`.
        rasterizer: None makes a `TorchRasterizer`.

    Raises:
        ValueError: when a number is not positive, or the seed is negative.

    Example:
        >>> faces = SyntheticFaces(num_faces=4, image_size=32)
        >>> face = faces[2]
        >>> tuple(face["image"].shape), face["codes"].space, face["path"]
        ((3, 32, 32), 'synthetic1', 'synthetic://0/2')
    """

    def __init__(
        self,
        num_faces: int,
        image_size: int = 64,
        seed: int = 0,
        images_per_identity: int = 1,
        supersample: int = 2,
        noise: bool = True,
        face_model: SyntheticHead | None = None,
        texture: SyntheticTexture | None = None,
        rasterizer: Rasterizer | None = None,
    ) -> None:
        least = {"num_faces": 1, "image_size": 8, "seed": 0, "images_per_identity": 1, "supersample": 1}
        for name, minimum in least.items():
            value = locals()[name]
            if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
                raise ValueError(f"SyntheticFaces: {name} must be a whole number of at least {minimum}, got {value!r}")
        self.num_faces = num_faces
        self.image_size = image_size
        self.seed = seed
        self.images_per_identity = images_per_identity
        self.supersample = supersample
        self.noise = noise
        self._head = face_model or SyntheticHead()
        self._texture = texture or SyntheticTexture()
        self._studio = Studio(self._head, self._texture, rasterizer or TorchRasterizer(), supersample)

    def __len__(self) -> int:
        return self.num_faces

    def __getitem__(self, index: int) -> FaceBatch:
        """One face: `codes` with batch size 1, everything else without batch axis.

        Keys: `image` (3, S, S) RGB in [0, 1]; `codes`; `label` int64, AffectNet 0..7; `va` (2,) in [-1, 1];
        `landmarks` (68, 2), pixels (x, y), integers at pixel centres; `path`; `index`; `source`.
        """
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[FaceBatch]:
        """Several faces, rendered together (a DataLoader calls this by itself)."""
        numbers = self._check(indices, "indices")
        items = []
        for chunk in self._chunks(numbers):
            sitters = self._sitters(chunk)
            codes = FaceCodes.cat([s.codes for s in sitters])
            images, mesh = self._studio.photograph(codes, self._nuisances(chunk, sitters), self.image_size)
            landmarks = self._landmarks(mesh.landmarks2d, codes)
            for i, (number, sitter) in enumerate(zip(chunk, sitters, strict=True)):
                image = expose(images[i], self.seed, number) if self.noise else images[i]
                items.append(self._item(number, sitter, image, landmarks[i]))
        return items

    def batches(self, batch_size: int = 16, indices: Sequence[int] | None = None) -> Iterator[FaceBatch]:
        """Generate faces in order, batch by batch: the quick way to fill memory or a disk.

        With `noise`, pictures are multiples of 1/255, so that `(image * 255).round().to(torch.uint8)` keeps
        them exactly in a quarter of the memory.

        Args:
            batch_size: faces per batch; the last batch may be smaller.
            indices: which faces; None is all of them.
        """
        if batch_size < 1:
            raise ValueError(f"SyntheticFaces.batches: batch_size must be at least 1, got {batch_size}")
        numbers = self._check(range(self.num_faces) if indices is None else indices, "indices")
        return (
            face_collate(self.__getitems__(numbers[i : i + batch_size])) for i in range(0, len(numbers), batch_size)
        )

    def truth(self, indices: Sequence[int] | None = None) -> FaceBatch:
        """Everything about some faces but their photographs, without rendering.

        Args:
            indices: which faces; None is all of them.
        """
        numbers = self._check(range(self.num_faces) if indices is None else indices, "indices")
        items = []
        for number, sitter in zip(numbers, self._sitters(numbers), strict=True):
            with torch.no_grad():
                landmarks = self._landmarks(self._head(sitter.codes).landmarks2d, sitter.codes)[0]
            items.append(self._item(number, sitter, None, landmarks))
        batch: FaceBatch = face_collate(items)
        return batch

    def photograph(
        self,
        indices: Sequence[int],
        codes: FaceCodes | None = None,
        donor_indices: Sequence[int] | None = None,
        clean: bool = False,
    ) -> Float[Tensor, "batch 3 size size"]:
        """Take the true edited photographs: the same scenes with other codes.

        Background, hair, glasses, clothes, freckles and shine stay those of the faces `indices`; what depends
        on the codes (where hair and glasses sit, highlights, cast shadows) follows them.

        Args:
            indices: which faces.
            codes: their new codes, as many; None keeps their own.
            donor_indices: as many faces that lend their background, hair, glasses and clothes: the truth of an
                edit of the global code. None: everybody keeps their own.
            clean: leave out sensor noise and JPEG.

        Returns:
            RGB in [0, 1].

        Raises:
            ValueError: when the numbers of faces, codes and donors differ, or an index is out of range.
            StructError: when codes belong to another space or are not finite.
        """
        numbers = self._check(indices, "indices")
        donors = numbers if donor_indices is None else self._check(donor_indices, "donor_indices")
        sitters, lenders = self._sitters(numbers), self._sitters(donors)
        if len(donors) != len(numbers):
            raise ValueError(
                f"SyntheticFaces.photograph: donor_indices must hold one donor per face: expected {len(numbers)}, "
                f"got {len(donors)}"
            )
        if codes is None:
            codes = FaceCodes.cat([s.codes for s in sitters])
        elif codes.batch_size != len(numbers):
            raise ValueError(
                f"SyntheticFaces.photograph: codes must hold one face per index: expected {len(numbers)}, "
                f"got {codes.batch_size}"
            )
        codes = self._check_codes(codes)
        pictures = []
        for places in self._chunks(range(len(numbers))):
            own = self._nuisances([numbers[i] for i in places], [sitters[i] for i in places])
            lent = self._nuisances([donors[i] for i in places], [lenders[i] for i in places])
            clean_pictures, _ = self._studio.photograph(codes[places], own.surrounded_by(lent), self.image_size)
            for place, picture in zip(places, clean_pictures, strict=True):
                pictures.append(expose(picture, self.seed, numbers[place]) if self.noise and not clean else picture)
        return torch.stack(pictures)

    def codes(self, indices: Sequence[int] | None = None) -> FaceCodes:
        """True codes of some faces, without rendering.

        Args:
            indices: which faces; None is all of them.
        """
        numbers = self._check(range(self.num_faces) if indices is None else indices, "indices")
        return FaceCodes.cat([s.codes for s in self._sitters(numbers)])

    def _sitters(self, numbers: Sequence[int]) -> list[Sitter]:
        return [
            draw_sitter(self.seed, n // self.images_per_identity, n, self._head, self._texture.n_tex) for n in numbers
        ]

    def _nuisances(self, numbers: Sequence[int], sitters: Sequence[Sitter]) -> Nuisances:
        drawn = []
        for number, sitter in zip(numbers, sitters, strict=True):
            natural = self._studio.natural_hair(sitter.codes)[0]
            identity = number // self.images_per_identity
            drawn.append(Nuisances.draw(self.seed, identity, number, self._studio.freckle_sites, natural))
        return Nuisances.cat(drawn)

    def _landmarks(self, points: Float[Tensor, "batch 68 3"], codes: FaceCodes) -> Float[Tensor, "batch 68 2"]:
        return (project(points, codes.cam)[..., :2] + 1) * self.image_size / 2 - 0.5

    def _item(self, number: int, sitter: Sitter, image: Tensor | None, landmarks: Tensor) -> FaceBatch:
        item = FaceBatch(
            codes=sitter.codes,
            label=torch.tensor(sitter.label),
            va=sitter.va,
            landmarks=landmarks,
            path=f"synthetic://{self.seed}/{number}",  # type: ignore[typeddict-item]
            index=torch.tensor(number),
            source="synthetic",  # type: ignore[typeddict-item]
        )
        if image is not None:
            item["image"] = image
        return item

    def _check(self, indices: Sequence[int], name: str) -> list[int]:
        numbers = [int(i) for i in indices]
        if not numbers:
            raise ValueError(f"SyntheticFaces: {name} must name at least one face, got none")
        for number in numbers:
            if not -self.num_faces <= number < self.num_faces:
                raise IndexError(f"SyntheticFaces: {name} holds {number}, but there are {self.num_faces} faces")
        return [number % self.num_faces for number in numbers]

    def _check_codes(self, codes: FaceCodes) -> FaceCodes:
        codes.require_space(self._head.space).require_finite()
        sizes = {"shape": self._head.n_shape, "exp": self._head.n_exp, "tex": self._texture.n_tex}
        for name, size in sizes.items():
            if getattr(codes, name).shape[1] != size:
                raise ValueError(
                    f"SyntheticFaces.photograph: codes.{name} must have {size} coefficients, "
                    f"got {getattr(codes, name).shape[1]}"
                )
        if codes.tform is not None:
            raise ValueError("SyntheticFaces.photograph: codes.tform must be None: these pictures are their own crop")
        return codes.to(device="cpu", dtype=torch.float32)

    def _chunks(self, numbers: Sequence[int]) -> Iterator[Sequence[int]]:
        step = max(1, _SAMPLES_AT_ONCE // (self.image_size * self.supersample) ** 2)
        return (numbers[i : i + step] for i in range(0, len(numbers), step))
