"""The table of official files that users get themselves: what they are, whose, and what they unlock.

Sizes and digests are those of the files that the authors give out.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

System = Literal["FLAME", "DECA", "EMOCA", "DiffusionRig", "Metrics"]

_MPI = "MPI, non-commercial research"
_DECA_DATA = "https://github.com/yfeng95/DECA (folder data)"
_FLAME_SITE = "https://flame.is.tue.mpg.de"
_EMOCA_SITE = "https://emoca.is.tue.mpg.de"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asset:
    """One official file or folder."""

    name: str
    """Short name, used in messages and by `locate_asset`."""
    system: System
    """Whose it is."""
    file: str
    """Its name on disk (a glob pattern)."""
    converted: str | None = None
    """Name of the file that `diffrig-emo convert` makes of it; None: it is read as it is."""
    folders: tuple[str, ...] = ("",)
    """Folders that it may lie in, below those that are searched: the layouts of the authors' own scripts."""
    inside: str | None = None
    """For a folder: glob pattern of what must lie below it."""
    licence: str
    """Who licenses it, and for what."""
    source: str
    """Where to get it."""
    unlocks: str
    """What diffrig_emo can do with it."""
    size: int | None = None
    """Bytes; None when unknown or a folder."""
    sha256: str | None = None
    """Digest; None when unknown or a folder."""
    space: str | None = None
    """Code space of a face model."""
    torch_hub: bool = False
    """Whether it may also lie where PyTorch keeps what it downloads (`torch.hub.get_dir()`, folder `checkpoints`)."""


def _emoca(name: str, folder: str, what: str, folders: tuple[str, ...] = ("", "EMOCA/models", "models")) -> Asset:
    return Asset(
        name=name,
        system="EMOCA",
        file=folder,
        converted=f"{name}.safetensors",
        folders=folders,
        inside="*/checkpoints/**/*.ckpt",
        licence=f"EMOCA: {_MPI}",
        source=f"{_EMOCA_SITE} (register, download the model {folder})",
        unlocks=f"EMOCA's expression codes: {what}",
    )


ASSETS: tuple[Asset, ...] = (
    Asset(
        name="flame",
        system="FLAME",
        file="generic_model.pkl",
        converted="flame2020.npz",
        folders=("", "FLAME/geometry", "FLAME2020"),
        licence=f"FLAME 2020: {_MPI}",
        source=f"{_FLAME_SITE} (register, download FLAME 2020)",
        unlocks="the face model that codes of DECA and EMOCA belong to",
        size=53_023_716,
        sha256="efcd14cc4a69f3a3d9af8ded80146b5b6b50df3bd74cf69108213b144eba725b",
        space="flame2020",
    ),
    Asset(
        name="flame2023",
        system="FLAME",
        file="flame2023.pkl",
        converted="flame2023.npz",
        folders=("", "FLAME/geometry", "FLAME2023"),
        licence=f"FLAME 2023: {_MPI}",
        source=f"{_FLAME_SITE} (register, download FLAME 2023)",
        unlocks="FLAME 2023, another code space: not for codes of DECA or EMOCA",
        sha256="8fb1af0db1abb51053ead8fd1f2624a63d01c9602f4a4fb4ea23bd2c82017fa0",
        space="flame2023",
    ),
    Asset(
        name="flame2023_open",
        system="FLAME",
        file="flame2023_Open.pkl",
        converted="flame2023_open.npz",
        folders=("", "FLAME/geometry", "FLAME2023", "FLAME2023_Open"),
        licence="FLAME 2023 Open: CC BY 4.0",
        source=f"{_FLAME_SITE} (register, download FLAME 2023 Open)",
        unlocks="FLAME 2023 Open, a third code space",
        sha256="e75a0990728ba038c7da2a420ae4396f7ddd7781366c13026066c5b24f127623",
        space="flame2023_open",
    ),
    Asset(
        name="head_template",
        system="FLAME",
        file="head_template.obj",
        folders=("", "FLAME/geometry"),
        licence=f"DECA: {_MPI}",
        source=_DECA_DATA,
        unlocks="triangles and texture coordinates of any FLAME",
        size=563_358,
        sha256="dd5bfbce75adb99b1963f43bca7ec3557bd4a7321f8fc515f4100599e80d99f2",
    ),
    Asset(
        name="landmark_embedding",
        system="FLAME",
        file="landmark_embedding.npy",
        converted="landmark_embedding.npz",
        folders=("", "FLAME/geometry"),
        licence=f"DECA: {_MPI}",
        source=_DECA_DATA,
        unlocks="landmarks of any FLAME, and recentering of edited faces",
        size=31_292,
        sha256="8095348eeafce5a02f6bd8765146307f9567a3f03b316d788a2e47336d667954",
    ),
    Asset(
        name="flame_texture",
        system="FLAME",
        file="FLAME_texture.npz",
        converted="flame_texture_by_component.npz",
        folders=("", "FLAME/texture"),
        licence=f"FLAME texture space: {_MPI}",
        source=f"{_FLAME_SITE} (register, download the texture space)",
        unlocks="the albedo that DiffusionRig was trained with",
    ),
    Asset(
        name="bfm_albedo",
        system="FLAME",
        file="FLAME_albedo_from_BFM.npz",
        converted="bfm_albedo_by_component.npz",
        folders=("", "FLAME/texture"),
        licence="Basel Face Model: non-commercial research",
        source="made from the Basel Face Model 2017 with https://github.com/TimoBolkart/BFM_to_FLAME",
        unlocks="the albedo that texture codes of DECA and EMOCA belong to",
    ),
    Asset(
        name="deca",
        system="DECA",
        file="deca_model.tar",
        converted="deca.safetensors",
        folders=("", "DECA/data"),
        licence=f"DECA: {_MPI}",
        source="linked from https://github.com/yfeng95/DECA (one file of about 414 MiB; do not unpack it)",
        unlocks="codes of a photograph, and its wrinkles",
    ),
    Asset(
        name="uv_face_eye_mask",
        system="DECA",
        file="uv_face_eye_mask.png",
        folders=("", "FLAME/mask"),
        licence=f"DECA: {_MPI}",
        source=_DECA_DATA,
        unlocks="where on the face wrinkles are drawn",
    ),
    Asset(
        name="fixed_displacement",
        system="DECA",
        file="fixed_displacement_256.npy",
        folders=("", "FLAME/geometry/fixed_uv_displacements", "FLAME/geometry"),
        licence=f"DECA: {_MPI}",
        source=_DECA_DATA,
        unlocks="the relief that wrinkles are added to",
    ),
    Asset(
        name="uv_face_mask",
        system="DECA",
        file="uv_face_mask.png",
        folders=("", "FLAME/mask"),
        licence=f"DECA: {_MPI}",
        source=_DECA_DATA,
        unlocks="the face's part of the texture, without neck and scalp",
    ),
    _emoca("emoca", "EMOCA_v2_lr_mse_20", "the authors' default, and the EMO project's"),
    # No bare folder: its name is also that of the folder around all of them.
    _emoca("emoca_v1", "EMOCA", "the first version", ("EMOCA/models", "models")),
    _emoca("emoca_v2_mp", "EMOCA_v2_mp", "version 2 without the lip-reading loss"),
    _emoca("emoca_v2_lr_cos_1.5", "EMOCA_v2_lr_cos_1.5", "version 2, lip reading compared by angle"),
    Asset(
        name="emoca_emotion",
        system="EMOCA",
        file="ResNet50",
        folders=("", "EmotionRecognition/image_based_networks", "image_based_networks"),
        inside="checkpoints/**/*.ckpt",
        licence=f"EMOCA: {_MPI}",
        source=f"{_EMOCA_SITE} (register, download the emotion recognition network ResNet50)",
        unlocks="emotion, valence and arousal of a photograph, as EMOCA's emotion loss sees them",
    ),
    Asset(
        name="emoca_emorec",
        system="EMOCA",
        file="EMOCA-emorec",
        folders=("", "EmotionRecognition"),
        inside="checkpoints/**/*.ckpt",
        licence=f"EMOCA: {_MPI}",
        source=f"{_EMOCA_SITE} (register, download EMOCA-emorec)",
        unlocks="emotion, valence and arousal of EMOCA's codes",
    ),
    Asset(
        name="diffusionrig",
        system="DiffusionRig",
        file="model*.pt",
        converted="diffusionrig.safetensors",
        folders=("DiffusionRig", "diffusionrig", "checkpoints", ""),
        licence="DiffusionRig: Adobe, non-commercial research",
        source="linked from https://github.com/adobe-research/diffusion-rig (stage one, about 552 MiB)",
        unlocks="photographs of 256 pixels from physical buffers",
    ),
    Asset(
        name="personal",
        system="DiffusionRig",
        file="model*.pt",
        converted="personal.safetensors",
        folders=("personal", "DiffusionRig/personal"),
        licence="derived from DiffusionRig (Adobe, non-commercial research) and from your album",
        source="your own stage two",
        unlocks="photographs that keep one person's looks",
    ),
    Asset(
        name="mean_shape",
        system="DiffusionRig",
        file="mean_shape.pkl",
        converted="mean_shape.npz",
        folders=("", "personal", "DiffusionRig/personal"),
        licence="derived from DECA (MPI, non-commercial research) and from your album",
        source="your own stage two (it lies beside its data.mdb)",
        unlocks="the shape that goes with personal weights",
    ),
    Asset(
        name="lpips_trunk",
        system="Metrics",
        file="alexnet-owt-*.pth",
        folders=("", "lpips", "metrics"),
        licence="torchvision: BSD-3-Clause; trained on ImageNet, non-commercial research",
        source="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth (torchvision's AlexNet, 233 MiB)",
        unlocks="LPIPS",
        torch_hub=True,
    ),
    Asset(
        name="inception",
        system="Metrics",
        file="*inception-2015-12-05-6726825d.pth",
        folders=("", "fid", "metrics"),
        licence="TensorFlow models: Apache-2.0; trained on ImageNet, non-commercial research",
        source="the releases of https://github.com/toshas/torch-fidelity or https://github.com/mseitzer/pytorch-fid",
        unlocks="FID and KID",
        torch_hub=True,
    ),
    Asset(
        name="arcface",
        system="Metrics",
        file="model_ir_se50.pth",
        folders=("", "arcface", "metrics"),
        licence="InsightFace_Pytorch: MIT; trained on MS-Celeb-1M, withdrawn, for research",
        source="linked from https://github.com/TreB1eN/InsightFace_Pytorch (IR-SE50)",
        unlocks="CSIM: whether an edit shows the same person",
    ),
    Asset(
        name="hsemotion",
        system="Metrics",
        file="enet_b[02]_[78]*.onnx",
        folders=("", "hsemotion", "metrics"),
        licence="HSEmotion: Apache-2.0; trained on AffectNet, non-commercial research",
        source="https://github.com/sb-ai-lab/EmotiEffLib (models/affectnet_emotions/onnx, such as enet_b2_8.onnx)",
        unlocks="emotion accuracy, with onnxruntime",
    ),
)

_FACE = (("flame",), ("head_template",), ("landmark_embedding",))
NEEDS: dict[System, tuple[tuple[str, ...], ...]] = {
    "FLAME": (("flame", "flame2023", "flame2023_open"), *_FACE[1:]),
    "DECA": (("deca",), *_FACE),
    "EMOCA": (("emoca", "emoca_v1", "emoca_v2_mp", "emoca_v2_lr_cos_1.5"), *_FACE),
    "DiffusionRig": (("diffusionrig", "personal"), ("flame_texture",), ("deca",), *_FACE),
    "Metrics": (),
}
"""Names of the assets without which a system does nothing; any one of each group will do."""
