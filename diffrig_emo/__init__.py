"""diffrig_emo: composable face-diffusion modules on PyTorch Lightning.

The data's way: photo, crop, codes, edit, mesh, physical buffers, conditioning, denoiser, picture, metrics.
The names below are the ones a notebook needs; everything else lives one level down
(`diffrig_emo.renderer`, `diffrig_emo.diffusion`, ...). Each is imported on first use, so that
`import diffrig_emo` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diffrig_emo.datamodules import (
        AffectNetDataModule,
        AlbumDataModule,
        CombinedDataModule,
        FFHQDataModule,
        SemanticCodesDataModule,
        SyntheticFacesDataModule,
    )
    from diffrig_emo.diffusion import ConditionedUNet, ddim_invert, ddim_sample, dpm_solver_sample
    from diffrig_emo.modules import (
        BetaPreservation,
        ExpressionRecognizer,
        FaceDiffusion,
        FaceEncoder,
        FaceRenderer,
        GlobalEncoder,
        LatentPrior,
        SemanticClassifier,
    )
    from diffrig_emo.morphable import (
        DECA,
        EMOCA,
        FLAME,
        BackboneEncoder,
        FlameTexture,
        SyntheticHead,
        SyntheticTexture,
    )
    from diffrig_emo.renderer import BufferRenderer, TorchRasterizer
    from diffrig_emo.structures import Conditioning, FaceBatch, FaceCodes, FaceCrop, FaceMesh, PhysicalBuffers
    from diffrig_emo.synthesis import SyntheticFaces
    from diffrig_emo.transforms import transfer_expression, transfer_light, transfer_pose

    __version__: str

_ROOMS = {
    "structures": ("Conditioning", "FaceBatch", "FaceCodes", "FaceCrop", "FaceMesh", "PhysicalBuffers"),
    "transforms": ("transfer_expression", "transfer_light", "transfer_pose"),
    "morphable": ("BackboneEncoder", "DECA", "EMOCA", "FLAME", "FlameTexture", "SyntheticHead", "SyntheticTexture"),
    "renderer": ("BufferRenderer", "TorchRasterizer"),
    "diffusion": ("ConditionedUNet", "ddim_invert", "ddim_sample", "dpm_solver_sample"),
    "synthesis": ("SyntheticFaces",),
    "datamodules": (
        "AffectNetDataModule",
        "AlbumDataModule",
        "CombinedDataModule",
        "FFHQDataModule",
        "SemanticCodesDataModule",
        "SyntheticFacesDataModule",
    ),
    "modules": (
        "BetaPreservation",
        "ExpressionRecognizer",
        "FaceDiffusion",
        "FaceEncoder",
        "FaceRenderer",
        "GlobalEncoder",
        "LatentPrior",
        "SemanticClassifier",
    ),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    "DECA",
    "EMOCA",
    "FLAME",
    "AffectNetDataModule",
    "AlbumDataModule",
    "BackboneEncoder",
    "BetaPreservation",
    "BufferRenderer",
    "CombinedDataModule",
    "ConditionedUNet",
    "Conditioning",
    "ExpressionRecognizer",
    "FFHQDataModule",
    "FaceBatch",
    "FaceCodes",
    "FaceCrop",
    "FaceDiffusion",
    "FaceEncoder",
    "FaceMesh",
    "FaceRenderer",
    "FlameTexture",
    "GlobalEncoder",
    "LatentPrior",
    "PhysicalBuffers",
    "SemanticClassifier",
    "SemanticCodesDataModule",
    "SyntheticFaces",
    "SyntheticFacesDataModule",
    "SyntheticHead",
    "SyntheticTexture",
    "TorchRasterizer",
    "__version__",
    "ddim_invert",
    "ddim_sample",
    "dpm_solver_sample",
    "transfer_expression",
    "transfer_light",
    "transfer_pose",
]


def __getattr__(name: str) -> Any:
    if name in _ROOM_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
    elif name == "__version__":
        from importlib.metadata import version

        value = version("diffrig_emo")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
