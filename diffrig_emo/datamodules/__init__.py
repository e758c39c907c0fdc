"""DataModules: faces in batches, from wherever they come."""

from diffrig_emo.datamodules.base import FaceDataModule
from diffrig_emo.datamodules.synthetic import SyntheticFacesDataModule

__all__ = ["FaceDataModule", "SyntheticFacesDataModule"]
