"""The small base under every bundle of tensors that travels between rooms.

A struct's jaxtyping annotations *are* its specification: they are read at construction, so a wrong
shape, dtype or batch size raises an error that names the field, before anything is computed with it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor
from typing_extensions import Self


class StructError(ValueError):
    """A struct was given a field that its annotation does not allow."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TensorStruct:
    """Frozen, keyword-only bundle of tensors with a leading batch axis.

    Fields are tensors, mappings of names to tensors, plain values shared by the batch, or ``None``.
    There is deliberately no ``shape`` attribute (in this field a *shape* is a FLAME code) and no
    broadcasting: every tensor has the same leading size.

    Raises:
        StructError: on construction, when a field has another dtype, rank or size than annotated, or
            when two fields disagree about a named size.
    """

    def __post_init__(self) -> None:
        cls: Any = type(self)
        sizes: dict[str, tuple[int, str]] = {}
        for name, (hint, optional) in _tensor_hints(cls).items():
            value = getattr(self, name)
            if isinstance(value, Mapping):
                for key, tensor in value.items():
                    _check(f"{type(self).__name__}.{name}[{key!r}]", tensor, hint, sizes)
            elif value is not None or not optional:
                _check(f"{type(self).__name__}.{name}", value, hint, sizes)
        if "batch" in sizes and sizes["batch"][0] == 0:
            raise StructError(
                f"{type(self).__name__} has an empty batch: {sizes['batch'][1]} holds 0 items. "
                "Skip empty batches before building it."
            )

    @property
    def batch_size(self) -> int:
        """Number of items along the leading axis of every tensor."""
        for tensor in self._tensors():
            return int(tensor.shape[0])
        raise StructError(f"{type(self).__name__} holds no tensor, so it has no batch size")

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move or cast every tensor; integer tensors and masks keep their dtype, as in ``nn.Module.to``."""
        device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)

        def move(tensor: Tensor) -> Tensor:
            target = dtype if tensor.is_floating_point() else None
            return tensor.to(device=device, dtype=target, non_blocking=non_blocking)

        return self._map(move)

    def pin_memory(self, device: torch.device | str | None = None) -> Self:
        """Copy every tensor to pinned memory (called by ``DataLoader(pin_memory=True)``)."""
        return self._map(lambda tensor: tensor.pin_memory(device) if device else tensor.pin_memory())

    def detach(self) -> Self:
        """Cut every tensor out of the autograd graph."""
        return self._map(Tensor.detach)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked like a new struct."""
        return dataclasses.replace(self, **changes)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Self:
        """Select items of the batch. An integer keeps the batch axis: ``codes[3].batch_size == 1``."""
        if isinstance(index, int):
            if not -self.batch_size <= index < self.batch_size:
                raise IndexError(f"item {index} of a {type(self).__name__} of batch size {self.batch_size}")
            index = slice(index, index + 1 or None)
        elif not isinstance(index, slice | Tensor):
            index = torch.as_tensor(list(index))
        return self._map(lambda tensor: tensor[index])

    def __iter__(self) -> Iterator[Self]:
        """Iterate over the batch, one struct of batch size 1 at a time."""
        return (self[i] for i in range(self.batch_size))

    @classmethod
    def cat(cls, items: Sequence[Self]) -> Self:
        """Concatenate along the batch axis.

        Raises:
            StructError: when there is nothing to join, when a field is present in some items only, or
                when a plain field (such as ``FaceCodes.space``) differs.
        """
        if not items:
            raise StructError(f"{cls.__name__}.cat needs at least one item")
        joined = {f.name: _cat_field(cls, f.name, [getattr(i, f.name) for i in items]) for f in dataclasses.fields(cls)}
        return cls(**joined)

    def __repr__(self) -> str:
        def show(value: Any) -> str:
            if isinstance(value, Tensor):
                return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
            if isinstance(value, Mapping):
                return "{" + ", ".join(f"{k!r}: {show(v)}" for k, v in value.items()) + "}"
            return repr(value)

        fields = ((f.name, getattr(self, f.name)) for f in dataclasses.fields(self))
        return f"{type(self).__name__}({', '.join(f'{n}={show(v)}' for n, v in fields if v is not None)})"

    def _tensors(self) -> Iterator[Tensor]:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                yield value
            elif isinstance(value, Mapping):
                yield from (v for v in value.values() if isinstance(v, Tensor))

    def _map(self, function: Callable[[Tensor], Tensor]) -> Self:
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changes[field.name] = function(value)
            elif isinstance(value, Mapping):
                changes[field.name] = {k: function(v) for k, v in value.items()}
        return dataclasses.replace(self, **changes)


def _cat_field(cls: type[TensorStruct], name: str, values: list[Any]) -> Any:
    first = values[0]
    if any((v is None) != (first is None) for v in values):
        raise StructError(f"{cls.__name__}.{name} is given for some items of the batch and None for others")
    if isinstance(first, Tensor):
        return torch.cat(values)
    if isinstance(first, Mapping):
        if any(v.keys() != first.keys() for v in values):
            raise StructError(f"{cls.__name__}.{name} has different names: {sorted({tuple(v) for v in values})}")
        return {k: torch.cat([v[k] for v in values]) for k in first}
    if any(v != first for v in values):
        raise StructError(
            f"{cls.__name__}.{name} differs within one batch: {sorted({str(v) for v in values})}. "
            "Codes of different spaces cannot be mixed."
        )
    return first


@functools.cache
def _tensor_hints(cls: type[Any]) -> dict[str, tuple[Any, bool]]:
    hints = {f.name: get_type_hints(cls)[f.name] for f in dataclasses.fields(cls)}
    found = {name: (_jaxtyping(hint), type(None) in get_args(hint)) for name, hint in hints.items()}
    return {name: (hint, optional) for name, (hint, optional) in found.items() if hint is not None}


def _jaxtyping(hint: Any) -> Any:
    """Find the jaxtyping class inside ``X``, ``X | None`` or ``Mapping[str, X]``."""
    if hasattr(hint, "dim_str"):
        return hint
    return next((found for arg in get_args(hint) if (found := _jaxtyping(arg)) is not None), None)


def _check(label: str, value: Any, hint: Any, sizes: dict[str, tuple[int, str]]) -> None:
    dims = hint.dim_str.split()
    wanted = f"a {hint.__name__.split('[')[0].lower()} tensor of shape ({', '.join(dims)})"
    if not isinstance(value, Tensor):
        raise StructError(f"{label}: expected {wanted}, got {type(value).__name__}")
    got = f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    any_dtype = not isinstance(hint.dtypes, list | tuple)  # jaxtyping's Shaped
    if not any_dtype and str(value.dtype).removeprefix("torch.") not in hint.dtypes:
        raise StructError(f"{label}: expected {wanted}, got {got}; convert it with .to(dtype) first")
    if len(dims) != value.ndim:
        raise StructError(f"{label}: expected {wanted}, got {got}; the leading axis is the batch")
    for dim, size in zip(dims, value.shape, strict=True):
        if dim.isdigit():
            if int(dim) != size:
                raise StructError(f"{label}: expected {wanted}, got {got}")
        elif dim == "_":
            continue
        elif dim in sizes and sizes[dim][0] != size:
            known, where = sizes[dim]
            raise StructError(f"{label}: expected {wanted} with {dim} = {known} as in {where}, got {got}")
        else:
            sizes.setdefault(dim, (size, label))
