"""What the emotions look like to a recogniser, on average."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.metrics.functional.emotion import EMOTIONS
from diffrig_emo.perception.base import EmotionRecognizer
from diffrig_emo.structures import FaceBatch


@torch.no_grad()
def class_prototypes(
    recognizer: EmotionRecognizer, loader: Iterable[FaceBatch]
) -> Float[Tensor, "n_emotions feature_dim"]:
    """Mean feature of the faces of every label.

    From here, "label and strength" is a point between the prototypes of neutral and of the label:
    `prototypes[0] + strength * (prototypes[label] - prototypes[0])`.

    Args:
        recognizer: the recogniser; it is run in eval mode, on its own device, and then put back into its mode.
        loader: batches with `image` and `label`, such as a DataModule's training loader; labels of -1 do not count.

    Returns:
        (8, feature_dim), float32 on the recogniser's device; NaN for labels without a face.

    Raises:
        ValueError: when no face has a label.

    Example:
        >>> from diffrig_emo.perception import TimmEmotionRecognizer
        >>> faces = {"image": torch.rand(4, 3, 32, 32), "label": torch.tensor([0, 1, 1, -1])}
        >>> prototypes = class_prototypes(TimmEmotionRecognizer("test_resnet", image_size=32), [faces])
        >>> tuple(prototypes.shape), prototypes.isnan().any(dim=1).tolist()
        ((8, 96), [False, False, True, True, True, True, True, True])
    """
    tensor = next(iter(recognizer.parameters()))
    totals = torch.zeros(len(EMOTIONS), recognizer.feature_dim, device=tensor.device)
    counts = torch.zeros(len(EMOTIONS), device=tensor.device)
    training = recognizer.training
    recognizer.eval()
    try:
        for batch in loader:
            if "label" not in batch or not (batch["label"] >= 0).any():
                continue
            label = batch["label"].to(tensor.device)
            known = label >= 0
            feature = recognizer(batch["image"].to(tensor.device)[known]).feature.float()
            totals.index_add_(0, label[known], feature)
            counts += torch.bincount(label[known], minlength=len(EMOTIONS))
    finally:
        recognizer.train(training)
    if not counts.any():
        raise ValueError(
            "class_prototypes: expected faces with a label of 0 to 7, got none; take labelled faces, such as AffectNet"
        )
    return totals / counts[:, None]
