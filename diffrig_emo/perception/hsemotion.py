"""HSEmotion's recognisers, by onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.metrics.functional.emotion import EMOTIONS
from diffrig_emo.perception.base import EmotionPrediction, EmotionRecognizer
from diffrig_emo.utils.assets import locate_asset
from diffrig_emo.utils.imports import require

EIGHT = ("Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise")
"""HSEmotion's order of the eight classes: alphabetical, not AffectNet's."""
SEVEN = tuple(name for name in EIGHT if name != "Contempt")
"""Its order without contempt."""

_NAMES = {"happiness": "happy", "sadness": "sad"}
"""What HSEmotion calls otherwise than we do."""
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class HSEmotionRecognizer(EmotionRecognizer):
    """Emotions by a network of HSEmotion (Savchenko 2021), such as `enet_b2_8.onnx`, run by onnxruntime on the CPU.

    A judge of edits: it gives no gradients. Its classes come in an order of their own and are brought into AffectNet's
    by name. A network of seven classes never says contempt (its logit is minus infinity). Networks with two more
    outputs, valence and arousal, are told by their number of outputs; without them `va` is NaN. `feature` holds the
    outputs as they come, because the file gives nothing else.

    Args:
        path: the ONNX file, or a folder to search for it; its pictures have one fixed size and ImageNet's
            normalisation, as all of HSEmotion's `enet` networks have. None: it is looked for where
            `diffrig_emo.utils.assets` looks.
        classes: names of the outputs in their order, for a network of someone else; HSEmotion's names or ours. None:
            HSEmotion's seven or eight.

    Raises:
        FileNotFoundError: saying where the file was looked for and where to get it.
        ImportError: when onnxruntime is missing, with the command that installs it.
        ValueError: when the file cannot be read, its inputs or outputs are others, or a class is unknown.

    Example:
        ```python
        recognizer = HSEmotionRecognizer("enet_b2_8.onnx")
        seen = recognizer(faces)  # (B, 3, H, W), RGB in [0, 1]
        ```
    """

    def __init__(self, path: str | Path | None = None, classes: Sequence[str] | None = None) -> None:
        super().__init__()
        path = locate_asset("hsemotion", path)
        self._path = path
        self._session = _open(path)
        (source,), (outputs,) = self._session.get_inputs()[:1], self._session.get_outputs()[:1]
        side, width = source.shape[-1], outputs.shape[-1]
        if len(source.shape) != 4 or source.shape[1:3] != [3, side] or not isinstance(side, int):
            raise ValueError(f"{path}: expected an input (batch, 3, side, side) of a fixed side, got {source.shape}")
        if classes is None:
            classes = {7: SEVEN, 8: EIGHT, 9: SEVEN, 10: EIGHT}.get(width, ())
        if not classes or width not in (len(classes), len(classes) + 2):
            raise ValueError(
                f"{path}: expected 7 or 8 classes, with valence and arousal behind them or without, got {width} outputs"
                f"{f' for {len(classes)} classes' if classes else ''}; give the names of its classes"
            )
        self._input = source.name
        self._labels = [_label(name) for name in classes]
        self.has_va = width > len(classes)
        self.image_size, self.feature_dim = side, width

    def recognize(self, image: Float[Tensor, "batch 3 image_size image_size"]) -> EmotionPrediction:
        """Emotions of faces of the network's size, RGB in [0, 1].

        Raises:
            RuntimeError: when gradients are asked of it.
        """
        if image.requires_grad and torch.is_grad_enabled():
            raise RuntimeError(
                "HSEmotionRecognizer gives no gradients: call it under torch.no_grad(), or train with another one"
            )
        mean, std = (image.new_tensor(numbers).view(3, 1, 1) for numbers in (_MEAN, _STD))
        pixels = ((image - mean) / std).float().cpu().numpy()
        outputs = torch.from_numpy(self._session.run(None, {self._input: pixels})[0]).to(image.device)
        logits = outputs.new_full((len(outputs), len(EMOTIONS)), -torch.inf)
        logits[:, self._labels] = outputs[:, : len(self._labels)]
        va = outputs[:, -2:].clamp(-1, 1) if self.has_va else outputs.new_full((len(outputs), 2), torch.nan)
        return EmotionPrediction(logits=logits, va=va, feature=outputs)

    def __getstate__(self) -> dict[str, Any]:
        """A session cannot be copied: the copy opens the file again."""
        return {name: value for name, value in self.__dict__.items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._session = _open(self._path)


def _open(path: Path) -> Any:
    runtime = require("onnxruntime", purpose="HSEmotionRecognizer", install='pip install "diffrig_emo[emotion]"')
    try:
        return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base but this
        raise ValueError(f"{path}: expected an ONNX file, but onnxruntime cannot read it ({error})") from error


def _label(name: str) -> int:
    """AffectNet's number of a class."""
    lower = name.lower()
    known = _NAMES.get(lower, lower)
    if known not in EMOTIONS:
        raise ValueError(f"classes: expected names among {', '.join(EMOTIONS)}, or HSEmotion's, got {name!r}")
    return EMOTIONS.index(known)
