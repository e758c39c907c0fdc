"""What travels between rooms: frozen bundles of tensors with names, shapes and units."""

from diffrig_emo.structures.base import StructError, TensorStruct
from diffrig_emo.structures.batch import FaceBatch, face_collate
from diffrig_emo.structures.buffers import PhysicalBuffers
from diffrig_emo.structures.codes import FaceCodes
from diffrig_emo.structures.conditioning import Conditioning
from diffrig_emo.structures.crop import FaceCrop
from diffrig_emo.structures.mesh import FaceMesh, MeshTopology

__all__ = [
    "Conditioning",
    "FaceBatch",
    "FaceCodes",
    "FaceCrop",
    "FaceMesh",
    "MeshTopology",
    "PhysicalBuffers",
    "StructError",
    "TensorStruct",
    "face_collate",
]
