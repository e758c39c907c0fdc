"""True edits of emotions: the same face with the expression that another label stands for."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffrig_emo.morphable.synthetic_head import emotion_preset
from diffrig_emo.structures import FaceCodes

TYPICAL_STRENGTH = 0.85
"""Mean strength of the population's expressions."""


def with_emotion(
    codes: FaceCodes,
    label: Int[Tensor, " batch"],
    va: Float[Tensor, "batch 2"],
    target: Int[Tensor, " batch"],
    strength: float | Float[Tensor, " batch"] = TYPICAL_STRENGTH,
) -> FaceCodes:
    """Codes of synthetic faces with the expression of another emotion.

    The emotion that a face shows, in its own strength, gives way to the other one in its typical strength; the small
    movements of its own that every synthetic face has on top stay.

    Args:
        codes: true codes of faces of `SyntheticFaces`.
        label: their emotions, 0..7.
        va: their valence and arousal, which tell how strongly they show them.
        target: emotions wanted, 0..7.
        strength: of the emotions wanted, of all faces or of each.

    Raises:
        ValueError: when a label is unknown.

    Example:
        >>> from diffrig_emo.synthesis import SyntheticFaces
        >>> face = SyntheticFaces(1, 64).truth()
        >>> again = with_emotion(face["codes"], face["label"], face["va"], torch.tensor([1]))
        >>> torch.equal(again.shape, face["codes"].shape), torch.equal(again.exp, face["codes"].exp)
        (True, False)
    """
    exp, pose = codes.exp.clone(), codes.pose.clone()
    wanted = torch.as_tensor(strength).expand(codes.batch_size)
    for face in range(codes.batch_size):
        own_exp, own_jaw, *own_va = emotion_preset(int(label[face]))
        new_exp, new_jaw, _, _ = emotion_preset(int(target[face]))
        felt = torch.tensor(own_va)
        own = float(va[face].cpu() @ felt / felt.square().sum()) if felt.any() else TYPICAL_STRENGTH
        exp[face] += (wanted[face] * new_exp - own * own_exp).to(exp)
        pose[face, 3:] += (wanted[face] * new_jaw - own * own_jaw).to(pose)
    return codes.replace(exp=exp, pose=pose)
