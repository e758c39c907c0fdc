"""Training orders that follow from seed and epoch alone, the same for any number of processes."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler


class ShuffledSampler(DistributedSampler[object]):
    """Draws every face once an epoch, and can begin where an interrupted run stopped.

    The order follows from (seed, epoch) alone; process r of n takes every n-th face of it from the r-th on. Faces that
    do not fill the last round are left out, so that all processes have equally many.

    Args:
        num_faces: faces of the data set.
        num_replicas: processes.
        rank: this process.
        seed: fixes the order, with the epoch.

    Example:
        >>> sampler = ShuffledSampler(num_faces=5, seed=3)
        >>> whole = list(sampler)
        >>> sampler.start = 2
        >>> list(sampler) == whole[2:], list(sampler) == whole
        (True, True)
    """

    start: int = 0
    """Faces of this process that the next iteration, and only that one, leaves out."""

    def __init__(self, num_faces: int, num_replicas: int = 1, rank: int = 0, seed: int = 0) -> None:
        super().__init__(_Length(num_faces), num_replicas, rank, shuffle=True, seed=seed, drop_last=True)

    def __iter__(self) -> Iterator[int]:
        start, self.start = self.start, 0
        return itertools.islice(self._order(), start, None)

    def _order(self) -> Iterator[int]:
        return (int(i) for i in super().__iter__())  # type: ignore[call-overload]


class SceneSampler(ShuffledSampler):
    """Draws every scene once an epoch, and a few of its photographs in a row.

    Args:
        num_scenes: scenes of the data set; photograph `i` is of scene `i // photos_per_scene`.
        photos_per_scene: photographs that there are of each.
        faces_per_scene: how many are drawn.
        num_replicas: processes.
        rank: this process.
        seed: fixes the order, with the epoch.

    Raises:
        ValueError: when a scene has not so many photographs.

    Example:
        >>> order = list(SceneSampler(num_scenes=5, photos_per_scene=8, faces_per_scene=2))
        >>> len(order), all(a // 8 == b // 8 and a != b for a, b in zip(order[::2], order[1::2]))
        (10, True)
    """

    def __init__(
        self,
        num_scenes: int,
        photos_per_scene: int,
        faces_per_scene: int,
        num_replicas: int = 1,
        rank: int = 0,
        seed: int = 0,
    ) -> None:
        if not 1 <= faces_per_scene <= photos_per_scene:
            raise ValueError(f"faces_per_scene: expected 1 to {photos_per_scene}, got {faces_per_scene}")
        super().__init__(num_scenes, num_replicas, rank, seed)
        self.photos_per_scene = photos_per_scene
        self.faces_per_scene = faces_per_scene

    def _order(self) -> Iterator[int]:
        for scene in super()._order():
            rng = np.random.default_rng((self.seed, self.epoch, scene))
            drawn = rng.permutation(self.photos_per_scene)[: self.faces_per_scene]
            yield from (scene * self.photos_per_scene + drawn).tolist()

    def __len__(self) -> int:
        return super().__len__() * self.faces_per_scene


class BalancedSampler(ShuffledSampler):
    """Draws groups of faces in wanted shares: the classes of a data set equally often, say.

    In one epoch each group gets its share of the draws, rounded to a whole face. Within a group all faces come before
    one comes again. The order follows from (seed, epoch) alone; process r of n takes every n-th face of it from the
    r-th on, so that together they see what one process would, and a resumed run finds its order again. Lightning and
    any code that knows `DistributedSampler` call `set_epoch`.

    Args:
        groups: group of every face, such as its label; faces of negative groups are never drawn.
        shares: share of each group 0, 1, ...; they need not add up to 1. None: all groups that occur alike.
        num_samples: faces in an epoch, of all processes together; None: as many as can be drawn.
        num_replicas: processes.
        rank: this process.
        seed: fixes the order, with the epoch.

    Raises:
        ValueError: when a share is negative or not finite, or belongs to a group without faces; when there is nothing
            to draw.

    Example:
        >>> labels = [0] * 90 + [1] * 10
        >>> sampler = BalancedSampler(labels, seed=3)
        >>> order = list(sampler)
        >>> len(order), sum(labels[i] == 1 for i in order)
        (100, 50)
        >>> halves = [list(BalancedSampler(labels, seed=3, num_replicas=2, rank=rank)) for rank in range(2)]
        >>> [face for pair in zip(*halves) for face in pair] == order
        True
    """

    def __init__(
        self,
        groups: Sequence[int] | NDArray[np.int64],
        shares: Sequence[float] | NDArray[np.float64] | None = None,
        num_samples: int | None = None,
        num_replicas: int = 1,
        rank: int = 0,
        seed: int = 0,
    ) -> None:
        numbers = np.asarray(groups, np.int64)
        drawable = int((numbers >= 0).sum())
        if not drawable:
            raise ValueError(f"groups: expected at least one face of group 0 or above, got none of {len(numbers)}")
        super().__init__(len(numbers), num_replicas, rank, seed)
        counts = np.bincount(numbers[numbers >= 0])
        self._shares = _checked(shares, counts)
        self._members = [torch.from_numpy(np.flatnonzero(numbers == group)) for group in range(len(counts))]
        total = drawable if num_samples is None else num_samples
        if total < num_replicas:
            raise ValueError(f"num_samples: expected a face for each of {num_replicas} processes, got {total}")
        self.num_samples = total // num_replicas
        """Faces of this process in an epoch."""
        self.total_size = self.num_samples * num_replicas
        """Faces of all processes in an epoch."""

    def _order(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed((self.seed * 0x9E3779B1 + self.epoch) % 2**63)
        drawn = []
        for members, count in zip(self._members, _apportion(self._shares, self.total_size), strict=True):
            rounds = -(-count // len(members)) if count else 0
            order = [members[torch.randperm(len(members), generator=generator)] for _ in range(rounds)]
            drawn += [torch.cat(order)[:count]] if order else []
        faces = torch.cat(drawn)
        mixed = faces[torch.randperm(len(faces), generator=generator)]
        return iter(mixed[self.rank : self.total_size : self.num_replicas].tolist())

    def __len__(self) -> int:
        return self.num_samples


class _Length(Dataset[object]):
    """What `DistributedSampler` wants to know of a data set."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length


def _checked(shares: Sequence[float] | NDArray[np.float64] | None, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    given = (counts > 0).astype(float) if shares is None else np.asarray(shares, float)
    if given.ndim != 1 or not np.isfinite(given).all() or (given < 0).any() or not given.sum():
        raise ValueError(f"shares: expected numbers of at least 0, not all 0, got {given.tolist()}")
    if len(given) < len(counts):
        raise ValueError(f"shares: expected one for each of {len(counts)} groups, got {len(given)}")
    empty = [group for group, share in enumerate(given) if share and (group >= len(counts) or not counts[group])]
    if empty:
        raise ValueError(f"shares: group {empty[0]} has a share of {given[empty[0]]:g}, but no face; give it 0")
    return given[: len(counts)]


def _apportion(shares: NDArray[np.float64], total: int) -> list[int]:
    """Whole numbers in these shares that add up to the total, by largest remainders."""
    exact = shares / shares.sum() * total
    whole = np.floor(exact).astype(int)
    largest = np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]
    whole[largest] += 1
    return [int(count) for count in whole]
