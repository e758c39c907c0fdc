"""DataModules: faces in batches, from wherever they come."""

from diffrig_emo.datamodules.affectnet import AffectNetDataModule
from diffrig_emo.datamodules.album import AlbumDataModule
from diffrig_emo.datamodules.base import FaceDataModule
from diffrig_emo.datamodules.combined import CombinedDataModule
from diffrig_emo.datamodules.ffhq import FFHQDataModule
from diffrig_emo.datamodules.inverted_faces import InvertedFacesDataModule
from diffrig_emo.datamodules.resumable_loader import ResumableLoader
from diffrig_emo.datamodules.semantic_codes import EncodedFaces, SemanticCodesDataModule
from diffrig_emo.datamodules.synthetic import SyntheticFacesDataModule
from diffrig_emo.datamodules.synthetic_album import SyntheticAlbumDataModule

__all__ = [
    "AffectNetDataModule",
    "AlbumDataModule",
    "CombinedDataModule",
    "EncodedFaces",
    "FFHQDataModule",
    "FaceDataModule",
    "InvertedFacesDataModule",
    "ResumableLoader",
    "SemanticCodesDataModule",
    "SyntheticAlbumDataModule",
    "SyntheticFacesDataModule",
]
