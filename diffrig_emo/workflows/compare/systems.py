"""What is compared: a rig with an encoder, or an encoder alone."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from jsonargparse import ArgumentError, ArgumentParser
from torch import Tensor, nn

from diffrig_emo.conditioning import BufferConditioner
from diffrig_emo.conditioning.reencode import reencode
from diffrig_emo.modules import EmotionEditor, FaceDiffusion, FaceEncoder
from diffrig_emo.morphable import FLAME, FlameTexture, MorphableEncoder, SyntheticHead, SyntheticTexture
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.structures import FaceCodes
from diffrig_emo.workflows.editing.rigs import Reach
from diffrig_emo.workflows.load import load_encoder, load_rig
from diffrig_emo.workflows.shipped import shipped_encoder, shipped_rig

SHIPPED, TRUTH = "shipped", "truth"
"""Words in the place of a path: the weights that come with the package; the true codes of synthetic faces."""
KEYS = ("rig", "encoder", "target_encoder")
"""What a system is described by."""
_DEFAULT_SIZE = {SyntheticHead.space: 64}
_OTHER_SIZE = 256
_CROP = 224


@dataclasses.dataclass(frozen=True)
class Reader:
    """An encoder, and what it wants to see."""

    encoder: MorphableEncoder
    takes_whole: bool
    """Whether it was trained on whole aligned pictures, as runs of ours are, instead of on crops around the face."""
    name: str
    """As the user gave it."""

    def read(self, aligned: Float[Tensor, "batch 3 size size"], tform: Float[Tensor, "batch 3 3"] | None) -> FaceCodes:
        """Codes of aligned pictures.

        Args:
            aligned: RGB in [0, 1].
            tform: from their pixels to the encoder's crop; not used by an encoder that takes them whole.
        """
        return reencode(self.encoder, aligned, None if self.takes_whole else tform)


@dataclasses.dataclass(frozen=True)
class System:
    """One of those that are compared, loaded."""

    name: str
    rig: FaceDiffusion | None
    """None: it renders."""
    encoder: Reader | None
    """Reads the photographs; None takes the true codes of synthetic faces."""
    target_encoder: Reader | None
    """Reads the photographs that expressions are taken from."""
    bridge: BufferConditioner
    """Renders its codes, at the rig's size; of one that edits by label, to see where the face is."""
    given: dict[str, str | None]
    """What the user described it by."""
    editor: EmotionEditor | None = None
    """Edits by the name of an emotion, with a rig that knows no codes; None: codes say what is painted."""

    @property
    def size(self) -> int:
        """Side of its pictures in pixels."""
        return int(self.bridge.renderer.size[0])

    @property
    def takes_whole(self) -> bool:
        """Whether no encoder of it needs to know where the face is."""
        return all(reader is None or reader.takes_whole for reader in (self.encoder, self.target_encoder))

    def to(self, device: torch.device) -> None:
        """Move its networks."""
        for module in (self.rig, self.bridge, *(r.encoder for r in (self.encoder, self.target_encoder) if r)):
            if module is not None:
                module.to(device)

    def millions(self) -> dict[str, float]:
        """Parameters of encoder and rig, in millions; encoders that are used twice count once."""
        readers = {id(r.encoder): r.encoder for r in (self.encoder, self.target_encoder) if r}
        sizes = {"encoder": sum(_parameters(encoder) for encoder in readers.values())}
        sizes["rig"] = 0 if self.rig is None else _parameters(self.rig)
        return {part: count / 1e6 for part, count in sizes.items()}

    def digests(self) -> dict[str, str | None]:
        """Of the weights, to know it again."""
        parts = {"rig": self.rig, "encoder": self.encoder, "target_encoder": self.target_encoder}
        return {
            name: None if part is None else digest_of(part.encoder if isinstance(part, Reader) else part)
            for name, part in parts.items()
        }


def load_systems(
    systems: Mapping[str, Mapping[str, object]], steps: int, seed: int, synthetic: bool
) -> dict[str, System]:
    """Load everything that is compared, and refuse what does not fit together.

    Args:
        systems: names to what describes them: `encoder` (a `MorphableEncoder`, the name of a class, a class with its
            arguments, a run of ours, "shipped" or "truth"), and if there is one a `rig` (a model file, a run or
            "shipped") and a `target_encoder`. A rig that reads emotion labels and no codes edits by label.
        steps: DDIM steps of rigs.
        seed: of rigs.
        synthetic: whether the faces' true codes are known.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: naming the system and the key: unknown, missing, or of another code space than the rig.
    """
    cache: dict[tuple[str, str], Any] = {}
    for name, given in systems.items():
        _require(name, given, synthetic)
    loaded = {name: _load(name, given, cache, steps) for name, given in systems.items()}
    unknown_size = [name for name, system in loaded.items() if system.rig is None]
    rigs = [system.size for system in loaded.values() if system.rig is not None]
    for name in unknown_size if rigs else ():  # without a rig of its own, one renders at the size of the others'
        system = loaded[name]
        crop_size = system.bridge.renderer.crop_size
        loaded[name] = dataclasses.replace(system, bridge=_bridge(system.bridge.face_model.space, min(rigs), crop_size))
    for rig in {id(s.rig): s.rig for s in loaded.values() if s.rig is not None}.values():
        rig.set_steps(steps)
        rig.seed = seed
    return loaded


def load_reader(given: object, where: str) -> Reader:
    """An encoder by what a user gave.

    Args:
        given: a `MorphableEncoder`, a class's name or description, a run of a `FaceEncoder`, or "shipped".
        where: the setting's name, for errors.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: naming the setting.
    """
    if isinstance(given, MorphableEncoder):
        return Reader(given.eval(), False, type(given).__name__)
    if isinstance(given, FaceEncoder):
        return Reader(given.eval().encoder, True, type(given.encoder).__name__)
    if given in (SHIPPED, Path(SHIPPED)):
        return Reader(shipped_encoder().eval().encoder, True, SHIPPED)
    if isinstance(given, Path) or (isinstance(given, str) and Path(given).exists()):
        return Reader(load_encoder(given).encoder, True, str(given))
    if isinstance(given, str) and ("/" in given or given.endswith(".ckpt")):
        raise FileNotFoundError(f"{where}: {given} does not exist; expected the run of an encoder")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--encoder", type=MorphableEncoder)
    try:
        parsed = parser.parse_object({"encoder": given})
    except ArgumentError as error:
        raise ValueError(
            f"{where}: expected {SHIPPED}, {TRUTH} (true codes, of synthetic faces), a class such as DECA or EMOCA, or "
            f"the run of an encoder, got {given!r}"
        ) from error
    encoder: MorphableEncoder = parser.instantiate_classes(parsed).encoder
    return Reader(encoder.eval(), False, type(encoder).__name__)


def digest_of(module: nn.Module) -> str:
    """SHA-256 of a network's class and weights, licensed ones too."""
    digest = hashlib.sha256(type(module).__qualname__.encode())
    # Not the state dict, which licensed weights are kept out of.
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _require(name: str, given: Mapping[str, object], synthetic: bool) -> None:
    if not name or any(c in '/\\:*?"<>|' for c in name) or name.startswith("."):
        raise ValueError(f"systems: expected names that can be folders' names, got {name!r}")
    if not isinstance(given, Mapping):
        raise ValueError(f"systems: {name}: expected keys among {', '.join(KEYS)}, got {given!r}")
    for key in given:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"systems: {name}: unknown key {key!r}, expected keys among {', '.join(KEYS)}{hint}")
    if given.get("encoder") is None:
        raise ValueError(
            f"systems: {name}: expected an encoder, got none; give {SHIPPED}, DECA, EMOCA or the run of an encoder"
        )
    if TRUTH in (given["encoder"], given.get("target_encoder")) and not synthetic:
        raise ValueError(
            f"systems: {name}: {TRUTH} stands for the true codes of synthetic faces, and those of photographs are not "
            "known; leave images out, or give an encoder"
        )


def _load(name: str, given: Mapping[str, object], cache: dict[tuple[str, str], Any], steps: int) -> System:
    def once(kind: str, value: object, load: Any) -> Any:
        if not isinstance(value, str | Path):
            return load(value)
        if (kind, str(value)) not in cache:
            cache[kind, str(value)] = load(value)
        return cache[kind, str(value)]

    def reader(key: str) -> Reader | None:
        value = given.get(key) or given["encoder"]
        if value == TRUTH:
            return None
        found: Reader = once("encoder", value, lambda v: load_reader(v, f"systems: {name}: {key}"))
        return found

    encoder, target_encoder = reader("encoder"), reader("target_encoder")
    rig = given.get("rig")
    model: FaceDiffusion | None = (
        None if rig is None else once("rig", rig, lambda v: _load_rig(v, f"systems: {name}: rig"))
    )
    spaces = [SyntheticHead.space if r is None else r.encoder.space for r in (encoder, target_encoder)]
    crop_size = _CROP if encoder is None or encoder.takes_whole else encoder.encoder.image_size
    editor: EmotionEditor | None = None
    if model is None:
        bridge = _bridge(spaces[0], _DEFAULT_SIZE.get(spaces[0], _OTHER_SIZE), crop_size)
    else:
        reach = Reach.of(model)
        if reach.bridge is None:
            if reach.label is None:
                raise ValueError(
                    f"systems: {name}: rig: expected one conditioned on physical buffers or on emotion labels, got one "
                    "without a BufferConditioner and without an EmotionLabelConditioner"
                )
            editor = EmotionEditor(model, None, steps)
        bridge = reach.bridge or _bridge(spaces[0], reach.size, crop_size)
    wanted = bridge.face_model.space
    for key, space in zip(("encoder", "target_encoder"), spaces, strict=True):
        if space != wanted:
            raise ValueError(
                f"systems: {name}: {key} gives codes of space {space!r}, but "
                f"{'the encoder' if model is None else 'the rig'} is of space {wanted!r}; codes of different spaces do "
                "not mix, so give two of one space"
            )
    if encoder is not None and not encoder.takes_whole and crop_size != bridge.renderer.crop_size:
        raise ValueError(
            f"systems: {name}: the encoder sees crops of {crop_size} pixels, but the rig renders codes of crops of "
            f"{bridge.renderer.crop_size}; give an encoder of that size, or a FaceEncoder that takes pictures whole"
        )
    described = {key: None if given.get(key) is None else _name_of(given[key]) for key in KEYS}
    return System(name, model, encoder, target_encoder, bridge, described, editor)


def _load_rig(given: object, where: str) -> FaceDiffusion:
    if isinstance(given, FaceDiffusion):
        return given.eval()
    if given in (SHIPPED, Path(SHIPPED)):
        return shipped_rig().eval()
    if not Path(str(given)).exists():
        raise FileNotFoundError(f"{where}: {given} does not exist; expected {SHIPPED}, a model file or a run of ours")
    return load_rig(str(given))


def _bridge(space: str, size: int, crop_size: int) -> BufferConditioner:
    if space == SyntheticHead.space:
        return BufferConditioner(SyntheticHead(), SyntheticTexture(), BufferRenderer(size, crop_size=crop_size))
    if space.startswith("flame"):
        return BufferConditioner(FLAME(), FlameTexture(), BufferRenderer(size, crop_size=crop_size))
    raise ValueError(
        f"systems: an encoder without a rig is compared by rendering, which is known for codes of "
        f"{SyntheticHead.space} and of a FLAME, got {space!r}; give its rig"
    )


def _name_of(given: object) -> str:
    if isinstance(given, str | Path):
        return str(given)
    return str(given["class_path"]) if isinstance(given, Mapping) and "class_path" in given else type(given).__name__


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
