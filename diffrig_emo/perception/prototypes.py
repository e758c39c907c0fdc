"""What the emotions look like on average: to a recogniser, and in the codes of a morphable face."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.io.npz import read_npz, write_npz
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


@dataclasses.dataclass(frozen=True)
class ExpressionPrototypes:
    """The mean expression and jaw of each emotion, in the codes of one space."""

    exp: Float[Tensor, "8 n_exp"]
    """Expression coefficients; NaN for emotions without a face."""
    jaw_pose: Float[Tensor, "8 3"]
    """Rotation of the jaw, axis-angle, radians; NaN for emotions without a face."""
    space: str
    """The codes' space, such as "flame2020"."""

    def write(self, path: str | Path) -> None:
        """Write them as `NAME.npz`, for `read_prototypes`."""
        arrays = {"exp": self.exp.detach().cpu().numpy(), "jaw_pose": self.jaw_pose.detach().cpu().numpy()}
        notes = {"what": "mean codes of emotions", "space": self.space, "emotions": ", ".join(EMOTIONS)}
        write_npz(path, arrays, notes)


@torch.no_grad()
def expression_prototypes(loader: Iterable[FaceBatch]) -> ExpressionPrototypes:
    """Mean expression codes of the faces of every label, such as those of AffectNet in a store of EMOCA's codes.

    Args:
        loader: batches with `codes` of one space and `label`; labels of -1 do not count.

    Raises:
        ValueError: when no face has a label, or neutral, from which every strength counts, has none.

    Example:
        >>> from diffrig_emo.structures import FaceCodes
        >>> codes = FaceCodes.zeros(3, n_shape=2, n_tex=2, n_exp=2, space="s")
        >>> codes = codes.replace(exp=torch.tensor([[0.0, 0.0], [1.0, 0.0], [3.0, 2.0]]))
        >>> found = expression_prototypes([{"codes": codes, "label": torch.tensor([0, 1, 1])}])
        >>> found.exp[:2].tolist(), found.space
        ([[0.0, 0.0], [2.0, 1.0]], 's')
    """
    totals: Tensor | None = None
    counts = torch.zeros(len(EMOTIONS), dtype=torch.float64)
    space = ""
    for batch in loader:
        if "label" not in batch or "codes" not in batch:
            continue
        known = (batch["label"] >= 0).cpu()
        codes = batch["codes"] if not space else batch["codes"].require_space(space)
        space = codes.space
        rows = torch.cat([codes.exp, codes.jaw_pose], dim=1).double().cpu()[known]
        totals = torch.zeros(len(EMOTIONS), rows.shape[1], dtype=torch.float64) if totals is None else totals
        totals.index_add_(0, batch["label"].cpu()[known], rows)
        counts += torch.bincount(batch["label"].cpu()[known], minlength=len(EMOTIONS))
    if totals is None or not counts[0]:
        raise ValueError(
            "expression_prototypes: expected faces with codes and a label, neutral (0) among them, got none; take "
            "labelled faces, such as AffectNet's"
        )
    means = (totals / counts[:, None]).float()
    return ExpressionPrototypes(means[:, :-3], means[:, -3:], space)


def read_prototypes(path: str | Path) -> ExpressionPrototypes:
    """Read what `ExpressionPrototypes.write` wrote.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: when it is damaged or another file.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: expected prototypes of emotions (.npz), but there is no such file")
    contents = read_npz(path)
    parts = [torch.from_numpy(contents.arrays[n]).float() for n in ("exp", "jaw_pose") if n in contents.arrays]
    if len(parts) < 2 or "space" not in contents.notes or any(p.ndim != 2 or len(p) != len(EMOTIONS) for p in parts):
        raise ValueError(
            f"{path}: expected prototypes of emotions: exp (8, n), jaw_pose (8, 3) and a space, got "
            f"{ {name: array.shape for name, array in contents.arrays.items()} }; make the file with "
            "diffrig_emo.perception.expression_prototypes(loader).write(path)"
        )
    if parts[1].shape[1] != 3 or not torch.isfinite(parts[0][0]).all():
        raise ValueError(f"{path}: expected jaw_pose (8, 3) and finite numbers for neutral, got others")
    return ExpressionPrototypes(parts[0], parts[1], contents.notes["space"])
