"""Data by a config's name, models by where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning as L
from jsonargparse import ArgumentError
from lightning.pytorch.cli import LightningArgumentParser

from diffrig_emo.metrics.functional.emotion import EMOTIONS
from diffrig_emo.modules import ExpressionRecognizer, FaceDiffusion
from diffrig_emo.perception import EmotionRecognizer, HSEmotionRecognizer
from diffrig_emo.perception.text_image import FACE_WORDS
from diffrig_emo.workflows.experiment import shipped_config
from diffrig_emo.workflows.load import load_run
from diffrig_emo.workflows.shipped import shipped_latent_emotion, shipped_recognizer

SHIPPED = "shipped"
"""Word in the place of a path: what comes with the package."""


def load_data(config: str) -> L.LightningDataModule:
    """A DataModule from a YAML file of its own, such as `data/affectnet_labels_128.yaml`.

    Args:
        config: path, or the bare name of a shipped one.

    Raises:
        ValueError: when it describes no DataModule.
    """
    parser = LightningArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(L.LightningDataModule, "data")
    try:
        parsed = parser.parse_args(["--data", shipped_config(config)])
    except ArgumentError as error:
        raise ValueError(f"data: {config} describes no DataModule ({error})") from error
    data: L.LightningDataModule = parser.instantiate_classes(parsed).data
    return data


def load_recognizer(given: str | None, synthetic: bool) -> EmotionRecognizer:
    """A recogniser of emotions.

    Args:
        given: the run of an `ExpressionRecognizer`, HSEmotion's ONNX file, "shipped", or None: the shipped one for
            synthetic faces, else HSEmotion's file if it is found.
        synthetic: whether the faces are synthetic.

    Raises:
        FileNotFoundError: when it is missing.
        ValueError: when it is something else.
    """
    if given == SHIPPED or (given is None and synthetic):
        found: EmotionRecognizer = shipped_recognizer().recognizer
    elif given is None or Path(given).suffix == ".onnx":
        found = HSEmotionRecognizer(given)
    else:
        found = load_run(given, ExpressionRecognizer).recognizer
    return found.requires_grad_(False).eval()


def load_latent(given: str) -> FaceDiffusion:
    """A latent emotion model: its run, its checkpoint, or "shipped"; errors as of `load_run`."""
    return shipped_latent_emotion() if given == SHIPPED else load_run(given, FaceDiffusion)


def emotion_labels(names: Sequence[str]) -> dict[str, int]:
    """Labels of emotions by the words that describe a face.

    Args:
        names: such words ("happy", "scared"), or the labels' own names ("fear").

    Raises:
        ValueError: when there are none, or one is unknown.

    Example:
        >>> emotion_labels(["happy", "fear"])
        {'happy': 1, 'scared': 4}
    """
    if not names:
        raise ValueError("targets: expected at least one emotion, got none")
    found = {}
    for name in names:
        label = next((n for n, words in enumerate(zip(FACE_WORDS, EMOTIONS, strict=True)) if name in words), None)
        if label is None:
            raise ValueError(f"targets: expected words among {', '.join(FACE_WORDS)}, got {name!r}")
        found[FACE_WORDS[label]] = label
    return found
