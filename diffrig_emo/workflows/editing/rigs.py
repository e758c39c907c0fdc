"""The rig that an edit uses, and what it can be told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from diffrig_emo.conditioning import BufferConditioner, EmotionLabelConditioner, ExpressionCodeConditioner
from diffrig_emo.modules import FaceDiffusion, FaceEncoder
from diffrig_emo.morphable import DECA, MorphableEncoder, SyntheticHead
from diffrig_emo.utils.assets import find_asset
from diffrig_emo.workflows.load import load_encoder, load_rig
from diffrig_emo.workflows.shipped import shipped_encoder, shipped_rig


@dataclasses.dataclass(frozen=True)
class Reach:
    """What a rig listens to."""

    size: int
    """Side of its pictures in pixels."""
    bridge: BufferConditioner | None
    """Renders codes; None for rigs that know no codes."""
    expression: ExpressionCodeConditioner | None
    """Takes emotions, valence and arousal, and pictures of an expression."""
    label: EmotionLabelConditioner | None
    """Takes emotions."""

    @property
    def space(self) -> str | None:
        """Space of the codes that it renders."""
        return None if self.bridge is None else self.bridge.face_model.space

    @classmethod
    def of(cls, rig: FaceDiffusion) -> Reach:
        """Look through the conditioners of a rig.

        Raises:
            ValueError: when its pictures are not square, or nothing tells their size.
        """
        parts = list(rig.conditioners.modules())
        bridge = next((part for part in parts if isinstance(part, BufferConditioner)), None)
        size = getattr(rig.denoiser, "image_size", None) if bridge is None else bridge.renderer.size[0]
        if bridge is None and isinstance(size, int) and rig.autoencoder is not None:
            size *= rig.autoencoder.factor
        if bridge is not None and bridge.renderer.size[0] != bridge.renderer.size[1]:
            raise ValueError(f"rig: expected square pictures, got a rig of {bridge.renderer.size} pixels")
        if not isinstance(size, int):
            raise ValueError("rig: expected a BufferConditioner or a denoiser with image_size, got neither")
        return cls(
            size,
            bridge,
            next((part for part in parts if isinstance(part, ExpressionCodeConditioner)), None),
            next((part for part in parts if isinstance(part, EmotionLabelConditioner)), None),
        )


def buffer_bridge(rig: FaceDiffusion) -> BufferConditioner:
    """The conditioner of a rig that renders codes.

    Raises:
        ValueError: when the rig has none, or its pictures are not square.
    """
    bridge = Reach.of(rig).bridge
    if bridge is None:
        raise ValueError("rig: expected a rig conditioned on physical buffers, got one without a BufferConditioner")
    return bridge


def choose_rig(
    path: Path | None = None, adapter: Path | None = None, photographs: bool = True
) -> tuple[FaceDiffusion, str]:
    """The rig that is asked for, or the best that there is, and its name.

    Args:
        path: as for `load_rig`. None is DiffusionRig's file among the assets, if it is found and there are photographs,
            else the rig that comes with the package.
        adapter: as for `load_rig`.
        photographs: whether the sources are photographs.

    Raises:
        FileNotFoundError: naming what is missing and where to get it.
        ValueError: when a file is damaged or another one.
    """
    if path is not None:
        return load_rig(path, adapter), str(path)
    if photographs and find_asset("diffusionrig") is not None:
        return load_rig(None, adapter), "asset diffusionrig"
    if adapter is not None:
        raise ValueError("adapter: it belongs to one rig; name that with --rig")
    return shipped_rig(), "shipped"


def choose_reader(
    given: MorphableEncoder | Path | None, space: str | None
) -> tuple[MorphableEncoder | FaceEncoder | None, str]:
    """The encoder that is asked for, or the one for a rig's codes, and its name.

    Args:
        given: an encoder, the run of a `FaceEncoder`, or None: for codes of the synthetic head the one that comes with
            the package, else DECA.
        space: of the rig's codes; None for a rig that knows no codes, which needs no encoder.

    Raises:
        FileNotFoundError: naming what is missing and where to get it.
        ValueError: when a run is of something else.
    """
    if isinstance(given, Path):
        return load_encoder(given), str(given)
    if given is not None:
        return given.eval(), type(given).__name__
    if space is None:
        return None, "none"
    if space == SyntheticHead.space:
        return shipped_encoder(), "shipped"
    return DECA(), "DECA"
