"""The codes by which a morphable model describes a face."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float
from torch import Tensor

from diffrig_emo.structures.base import StructError, TensorStruct

EVEN_LIGHT = math.sqrt(4 * math.pi)
"""Value of the constant lighting coefficient, first of the nine, that shows the albedo as it is."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class FaceCodes(TensorStruct):
    """Codes of a batch of faces: what a `MorphableEncoder` gives and a `FaceModel` takes.

    The sizes in the comments are FLAME's as DECA uses it; they are arguments of the models, not
    constants. Frames: see `docs/concepts/frames.md`.

    Example:
        >>> import torch
        >>> codes = FaceCodes.zeros(2, n_shape=100, n_tex=50, n_exp=50, space="flame2020")
        >>> codes.batch_size, tuple(codes.jaw_pose.shape)
        (2, (2, 3))
    """

    shape: Float[Tensor, "batch n_shape"]
    """Identity shape beta (100); standard deviations of the model's shape space."""
    tex: Float[Tensor, "batch n_tex"]
    """Albedo coefficients (50)."""
    exp: Float[Tensor, "batch n_exp"]
    """Expression psi (50)."""
    pose: Float[Tensor, "batch 6"]
    """Global rotation (3), then jaw rotation (3): axis-angle, radians."""
    cam: Float[Tensor, "batch 3"]
    """Weak perspective (s, tx, ty): screen xy = s * (world xy + t), world in metres."""
    light: Float[Tensor, "batch 9 3"]
    """Spherical-harmonics coefficients, basis by RGB."""
    detail: Float[Tensor, "batch n_detail"] | None = None
    """DECA's wrinkle code (128)."""
    eye_pose: Float[Tensor, "batch 6"] | None = None
    """Left, then right eyeball: axis-angle, radians. None is straight ahead."""
    translation: Float[Tensor, "batch 3"] | None = None
    """Added to the posed vertices, world metres (written by recentering)."""
    tform: Float[Tensor, "batch 3 3"] | None = None
    """Similarity from pixels of the aligned picture to pixels of the encoder's crop. None: they coincide."""
    space: str
    """Name of the code space, such as "flame2020" or "synthetic1". Spaces never mix."""

    @classmethod
    def zeros(
        cls,
        batch_size: int,
        *,
        n_shape: int,
        n_tex: int,
        n_exp: int,
        space: str,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> FaceCodes:
        """Codes of the mean face, looking ahead, in an even white light, with a camera of scale 8."""
        new = {"device": device, "dtype": dtype}
        light = torch.zeros(batch_size, 9, 3, **new)  # type: ignore[arg-type]
        light[:, 0] = EVEN_LIGHT
        return cls(
            shape=torch.zeros(batch_size, n_shape, **new),  # type: ignore[arg-type]
            tex=torch.zeros(batch_size, n_tex, **new),  # type: ignore[arg-type]
            exp=torch.zeros(batch_size, n_exp, **new),  # type: ignore[arg-type]
            pose=torch.zeros(batch_size, 6, **new),  # type: ignore[arg-type]
            cam=torch.tensor([[8.0, 0.0, 0.0]], **new).repeat(batch_size, 1),  # type: ignore[arg-type]
            light=light,
            space=space,
        )

    @property
    def global_rotation(self) -> Float[Tensor, "batch 3"]:
        """Rotation of the whole head about the root joint: axis-angle, radians."""
        return self.pose[:, :3]

    @property
    def jaw_pose(self) -> Float[Tensor, "batch 3"]:
        """Rotation of the jaw: axis-angle, radians."""
        return self.pose[:, 3:]

    def require_finite(self) -> FaceCodes:
        """Return the codes unchanged, or say which field holds NaN or infinity.

        Raises:
            StructError: naming the field and the first bad item. Reading the answer synchronises a GPU,
                so call it where codes enter (files, users), not once per training step.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor) and not torch.isfinite(value).all():
                item = int((~torch.isfinite(value).flatten(1).all(1)).nonzero()[0])
                raise StructError(
                    f"FaceCodes.{field.name}: expected finite numbers, got NaN or infinity in item {item} of "
                    f"{self.batch_size}; re-encode that face or drop it"
                )
        return self

    def require_space(self, space: str) -> FaceCodes:
        """Return the codes unchanged, or raise when they belong to another code space.

        Raises:
            StructError: naming both spaces.
        """
        if self.space != space:
            raise StructError(
                f"FaceCodes.space: expected codes of space {space!r}, got {self.space!r}. Codes mean something "
                "only to the model of their own space: use that model, or re-encode the photo."
            )
        return self
