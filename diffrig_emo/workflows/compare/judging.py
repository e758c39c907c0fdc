"""The networks that figures are read with, as far as they can be had."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from diffrig_emo.modules import ExpressionRecognizer
from diffrig_emo.morphable import MorphableEncoder
from diffrig_emo.perception import ArcFaceEmbedder, EmotionRecognizer, HSEmotionRecognizer, LPIPSNetwork
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.utils.skipped import Skipped, unless_missing
from diffrig_emo.workflows.compare.faces import ComparedFace
from diffrig_emo.workflows.compare.metrics import Judges
from diffrig_emo.workflows.compare.systems import Reader, System, digest_of, load_reader
from diffrig_emo.workflows.load import load_run
from diffrig_emo.workflows.shipped import shipped_recognizer


def load_judges(
    judge: MorphableEncoder | Path | None,
    recognizer: EmotionRecognizer | Path | None,
    synthetic: bool,
    device: torch.device,
) -> Judges:
    """Find every network; what is missing is left out with the reason.

    Args:
        judge: reads codes for all systems; None: each system's own encoder does.
        recognizer: reads emotions, or the run of an `ExpressionRecognizer`; None: the shipped one for synthetic faces,
            else HSEmotion's file if it is found.
        synthetic: whether the faces are synthetic.
        device: where to put them.

    Raises:
        FileNotFoundError: when what was asked for is missing.
        ValueError: when it cannot be used, or a file is damaged.
    """

    def shipped() -> EmotionRecognizer:
        network: EmotionRecognizer = shipped_recognizer().recognizer
        return network

    found: EmotionRecognizer | Skipped
    if isinstance(recognizer, Path):
        found = load_run(recognizer, ExpressionRecognizer).recognizer
    elif recognizer is not None:
        found = recognizer
    else:
        found = unless_missing("emotion accuracy", shipped if synthetic else HSEmotionRecognizer)
    reader = None if judge is None else load_reader(judge, "judge")
    if reader is not None:
        reader.encoder.to(device)
    lpips = unless_missing("LPIPS", LPIPSNetwork)
    embedder = unless_missing("CSIM", ArcFaceEmbedder)
    return Judges(
        lpips=_placed(lpips, device),
        embedder=_placed(embedder, device),
        recognizer=found if isinstance(found, Skipped) else _logits_of(found.to(device).eval()),
        judge=reader,
    )


def readers_of(systems: Mapping[str, System], judges: Judges) -> dict[str, Reader | None]:
    """Who reads codes off each system's pictures: the judge, else its own encoder.

    A system that takes true codes has none; the first encoder of its code space among the others reads for it.
    """
    readers: dict[str, Reader | None] = {}
    for name, system in systems.items():
        space = system.bridge.face_model.space
        others = (s.encoder for s in systems.values() if s.encoder and s.encoder.encoder.space == space)
        readers[name] = judges.judge or system.encoder or next(others, None)
    return readers


@torch.no_grad()
def emotion_labels(
    faces: Sequence[ComparedFace],
    systems: Mapping[str, System],
    synthetic: SyntheticFaces | None,
    judges: Judges,
    device: torch.device,
) -> list[int]:
    """Emotions of the faces, AffectNet 0..7, for systems that edit by label: true ones, else what the recogniser sees.

    Args:
        faces: those that are compared.
        systems: loaded.
        synthetic: where the faces come from, if they are not photographs.
        judges: with the recogniser.
        device: where it is.

    Returns:
        A label per face; -1 for all where no system asks for one.

    Raises:
        ValueError: when there is no recogniser for photographs that a system edits by label.
    """
    asking = [name for name, system in systems.items() if system.editor is not None]
    if not asking:
        return [-1] * len(faces)
    if synthetic is not None:
        labels: list[int] = synthetic.truth([face.number for face in faces])["label"].tolist()
        return labels
    if isinstance(judges.recognizer, Skipped):
        raise ValueError(
            f"systems: {', '.join(asking)}: it edits by the names of emotions, and those of photographs must be read; "
            f"give a recognizer ({judges.recognizer.reason})"
        )
    size = max(systems[name].size for name in asking)
    seen = []
    for face in faces:
        aligned = face.crop(size).aligned
        assert aligned is not None  # crop_faces always takes it
        seen.append(int(judges.recognizer(aligned.to(device)).argmax(dim=1)))
    return seen


def independence_notes(
    systems: Mapping[str, System], readers: Mapping[str, Reader | None], judges: Judges
) -> list[str]:
    """Sentences about who reads codes off the pictures, and why that may flatter."""
    if judges.judge is not None:
        digest = digest_of(judges.judge.encoder)
        own = [
            name
            for name, system in systems.items()
            if any(r and digest_of(r.encoder) == digest for r in (system.encoder, system.target_encoder))
        ]
        if own:
            return [
                f"The judge {judges.judge.name} is the encoder of {', '.join(own)} itself: re-inference is not "
                "independent."
            ]
        return [f"Expression, jaw and drifts are read by the judge {judges.judge.name}, for all systems alike."]
    notes = [
        "Expression, jaw and drifts are read off the pictures by the systems' own encoders, and are not independent: a "
        "system may please its own encoder, and figures of different encoders have different errors. Give --judge an "
        "encoder that no system was trained with."
    ]
    for name, system in systems.items():
        reader = readers[name]
        if system.encoder is None and reader is not None:
            notes.append(f"{name} has no encoder of its own; what it paints is read by that of others, {reader.name}.")
        elif reader is None:
            notes.append(f"{name} has no encoder of its own, and nobody else reads codes of its space.")
    return notes


def digests_of(judges: Judges) -> dict[str, str | None]:
    """Of the networks' weights; None where one could not be had."""
    networks = {"lpips": judges.lpips, "embedder": judges.embedder, "recognizer": judges.recognizer}
    return {
        name: None if isinstance(n, Skipped) else digest_of(n) if isinstance(n, nn.Module) else type(n).__name__
        for name, n in networks.items()
    }


class _Logits(nn.Module):
    """A recogniser's logits alone."""

    def __init__(self, recognizer: EmotionRecognizer) -> None:
        super().__init__()
        self.recognizer = recognizer

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.recognizer(image).logits
        return logits


def _logits_of(recognizer: EmotionRecognizer) -> Callable[[Tensor], Tensor]:
    return _Logits(recognizer)


def _placed(network: nn.Module | Skipped, device: torch.device) -> nn.Module | Skipped:
    return network if isinstance(network, Skipped) else network.to(device)
