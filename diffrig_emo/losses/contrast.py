"""Learning from what differs within a scene."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from torch import Tensor


class SceneContrast:
    """Weigh what tells the photographs of one scene apart above what they share.

    An expression is a few pixels of a face, and hardly counts among the errors of hair and background that a denoiser
    makes at the noise levels where it could not see the expression anyway: a small network learns to paint without
    asking what it was told. Photographs of one scene that get the same noise and timestep share those errors. With
    e_i the errors of K such photographs and m their mean, sum_i |e_i|^2 = K |m|^2 + sum_i |e_i - m|^2; here the second
    term counts `weight` times.

    Args:
        faces_per_scene: K, photographs of a scene in a row; `SyntheticFacesDataModule(faces_per_scene=K)` gives them.
        weight: of the differences.

    Raises:
        ValueError: when a number is out of range.

    Example:
        >>> contrast = SceneContrast(faces_per_scene=2, weight=4.0)
        >>> contrast.stretch(torch.tensor([1.0, 3.0, 5.0, 5.0])).tolist()
        [0.0, 4.0, 5.0, 5.0]
    """

    def __init__(self, faces_per_scene: int = 4, weight: float = 16.0) -> None:
        if faces_per_scene < 2 or weight <= 0:
            raise ValueError(
                "SceneContrast: expected faces_per_scene of at least 2 and a positive weight, got "
                f"{faces_per_scene} and {weight}"
            )
        self.faces_per_scene = faces_per_scene
        self.weight = weight

    def scenes(self, faces: int) -> int:
        """Number of scenes in a batch.

        Raises:
            ValueError: when the batch holds no whole number of them.
        """
        if faces % self.faces_per_scene:
            raise ValueError(
                f"SceneContrast: a batch of {faces} faces is not made of scenes of {self.faces_per_scene}; give the "
                "data this faces_per_scene"
            )
        return faces // self.faces_per_scene

    def share(self, draws: Shaped[Tensor, "scenes ..."]) -> Shaped[Tensor, "batch ..."]:
        """Every scene's draw for each of its photographs."""
        return draws.repeat_interleave(self.faces_per_scene, dim=0)

    def stretch(self, error: Shaped[Tensor, "batch ..."]) -> Shaped[Tensor, "batch ..."]:
        """Errors whose squares are weighted so."""
        scenes = error.unflatten(0, (self.scenes(len(error)), self.faces_per_scene))
        mean = scenes.mean(dim=1, keepdim=True)
        return torch.lerp(mean, scenes, self.weight**0.5).flatten(0, 1)
