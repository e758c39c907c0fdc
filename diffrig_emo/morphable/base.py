"""The three interfaces of the morphable room: photo to codes, codes to mesh, texture code to albedo."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from diffrig_emo.structures import FaceCodes, FaceCrop, FaceMesh, MeshTopology


class FaceModel(nn.Module, ABC):
    """A morphable face: codes to posed geometry.

    Attributes:
        space: name of the code space it understands; codes of another space raise.
        n_shape: number of shape coefficients.
        n_exp: number of expression coefficients.
    """

    space: str
    n_shape: int
    n_exp: int

    @property
    @abstractmethod
    def topology(self) -> MeshTopology:
        """Triangles and texture coordinates, on the model's device."""

    @abstractmethod
    def forward(self, codes: FaceCodes) -> FaceMesh:
        """Pose a batch of faces; `codes.translation`, when given, moves the result (world metres)."""


class TextureModel(nn.Module, ABC):
    """A linear space of albedo maps.

    Attributes:
        n_tex: number of texture coefficients.
    """

    n_tex: int

    @abstractmethod
    def forward(self, tex: Float[Tensor, "batch n_tex"]) -> Float[Tensor, "batch 3 size size"]:
        """Albedo in UV space, RGB about [0, 1] and not clamped; row 0 lies at v = 1."""


class MorphableEncoder(nn.Module, ABC):
    """A network that reads codes off a face.

    Attributes:
        space: name of the code space of the codes it gives.
        image_size: side in pixels of the crop it wants.
    """

    space: str
    image_size: int

    @abstractmethod
    def forward(self, crop: FaceCrop) -> FaceCodes:
        """Codes of the faces in `crop.image` ((B, 3, image_size, image_size), RGB in [0, 1])."""
