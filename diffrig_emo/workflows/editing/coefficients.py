"""Single numbers of the codes, by name: `exp[3]=1.5`, `jaw_open=0.2`, `smile=1`."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from diffrig_emo.conditioning import BufferConditioner
from diffrig_emo.morphable import SyntheticHead, SyntheticTexture
from diffrig_emo.structures import FaceCodes

CodeEdit = Callable[[FaceCodes], FaceCodes]
"""From the codes of some faces to those that are wanted."""

GROUPS = ("shape", "tex", "exp", "pose", "cam", "light", "detail", "eye_pose")
"""Codes whose numbers can be named."""

ALIASES: dict[str, tuple[str, int]] = {
    "head_nod": ("pose", 0),
    "head_turn": ("pose", 1),
    "head_tilt": ("pose", 2),
    "jaw_open": ("pose", 3),
    "jaw_side": ("pose", 4),
    "camera_scale": ("cam", 0),
}
"""Names that every face model knows. Rotations are components of axis-angles, radians."""

_FORM = re.compile(r"^\s*(?P<name>[A-Za-z_]+)\s*(?:\[\s*(?P<index>[^\]]+?)\s*\])?\s*=\s*(?P<value>[^=]+?)\s*$")


@dataclasses.dataclass(frozen=True)
class Coefficient:
    """One number that is wanted."""

    group: str
    """Field of `FaceCodes`."""
    index: tuple[int, ...]
    """Where in a face's row of it; of the light one index stands for all three colours."""
    value: float


def known_names(bridge: BufferConditioner) -> dict[str, tuple[str, int]]:
    """Every name of a single coefficient that a rig's face model and texture know, and what it stands for.

    Each stands there as `NAME` and as `GROUP[NAME]`. The names of `ALIASES` come before those of a model: `jaw_open` is
    the jaw's rotation, and the synthetic head's movement of that name is `exp[jaw_open]`.
    """
    own: dict[str, Sequence[str]] = {}
    if isinstance(bridge.face_model, SyntheticHead):
        own |= {"shape": bridge.face_model.shape_names, "exp": bridge.face_model.expression_names}
    if isinstance(bridge.texture, SyntheticTexture):
        own["tex"] = bridge.texture.texture_names
    names: dict[str, tuple[str, int]] = dict(ALIASES)
    for group, words in own.items():
        for number, word in enumerate(words):
            names[f"{group}[{word}]"] = (group, number)
            names.setdefault(word, (group, number))
    return names


def nearest(word: str, known: Iterable[str]) -> str:
    """A question that names what was meant perhaps, as the end of a message; else what there is."""
    choices = list(known)
    close = difflib.get_close_matches(word, choices, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(choices)}"


def parse_coefficient(text: str, option: str, codes: FaceCodes, names: Mapping[str, tuple[str, int]]) -> Coefficient:
    """Read `GROUP[INDEX]=NUMBER`, `GROUP[NAME]=NUMBER` or `NAME=NUMBER`.

    Args:
        text: such as "exp[3]=1.5", "light[0,2]=3" or "jaw_open=0.2".
        option: what the user gave it to, for messages.
        codes: tell how many numbers a group has.
        names: from `known_names`.

    Raises:
        ValueError: when it has another form, the group or name is unknown (the nearest are named), the index is out of
            range, or the value is no finite number.

    Example:
        >>> codes = FaceCodes.zeros(1, n_shape=2, n_tex=2, n_exp=5, space="s")
        >>> parse_coefficient("exp[3]=1.5", "set", codes, ALIASES)
        Coefficient(group='exp', index=(3,), value=1.5)
        >>> parse_coefficient("jaw_opn=1", "set", codes, ALIASES)
        Traceback (most recent call last):
            ...
        ValueError: set: 'jaw_opn' is no coefficient; did you mean jaw_open or jaw_side?
    """
    found = _FORM.match(text)
    if found is None:
        raise ValueError(f"{option}: expected GROUP[INDEX]=NUMBER or NAME=NUMBER, such as exp[3]=1.5, got {text!r}")
    name, index_text = found["name"], found["index"]
    try:
        value = float(found["value"])
    except ValueError:
        value = float("nan")
    if not torch.isfinite(torch.tensor(value)):
        raise ValueError(f"{option}: expected a finite number after '=', got {text!r}")
    if index_text is None:
        if name in GROUPS:
            raise ValueError(f"{option}: {name} is a group; say which of its numbers: {name}[0]={found['value']}")
        if name not in names:
            known = [*(word for word in names if "[" not in word), *GROUPS]
            raise ValueError(f"{option}: {name!r} is no coefficient; {nearest(name, known)}")
        group, number = names[name]
        return Coefficient(group, (number,), value)
    if name not in GROUPS:
        raise ValueError(f"{option}: {name!r} is no group of coefficients; {nearest(name, GROUPS)}")
    held: Tensor | None = getattr(codes, name)
    if held is None:
        raise ValueError(f"{option}: these codes have no {name}")
    if f"{name}[{index_text}]" in names:
        return Coefficient(name, (names[f"{name}[{index_text}]"][1],), value)
    own = [word.removeprefix(f"{name}[")[:-1] for word in names if word.startswith(f"{name}[")]
    return Coefficient(name, _index(index_text, option, name, tuple(held.shape[1:]), own), value)


def change_coefficients(texts: Sequence[str], option: str, bridge: BufferConditioner, add: bool) -> CodeEdit:
    """An edit that sets numbers of the codes, or adds to them, one after the other.

    Args:
        texts: as for `parse_coefficient`.
        option: what the user gave them to, for messages.
        bridge: whose face model and texture have names for them.
        add: add to what is there instead of replacing it.
    """
    names = known_names(bridge)

    def edit(codes: FaceCodes) -> FaceCodes:
        for text in texts:
            wanted = parse_coefficient(text, option, codes, names)
            changed = getattr(codes, wanted.group).clone()
            place = (slice(None), *wanted.index)
            changed[place] = changed[place] + wanted.value if add else wanted.value
            codes = codes.replace(**{wanted.group: changed})
        return codes

    return edit


def _index(text: str, option: str, group: str, sizes: tuple[int, ...], own: Sequence[str]) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        choices = own or [f"0..{sizes[0] - 1}"]
        raise ValueError(f"{option}: {group} has no coefficient {text!r}; {nearest(text, choices)}")
    index = tuple(int(part) for part in parts)
    if len(index) > len(sizes) or any(i >= size for i, size in zip(index, sizes, strict=False)):
        wanted = ",".join(f"0..{size - 1}" for size in sizes)
        raise ValueError(f"{option}: expected {group}[{wanted}], got {group}[{text}]")
    return index
