"""`diffrig-emo mesh`: the face of a photograph in 3D, with its texture, before and after an edit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor

from diffrig_emo.datasets.detectors import CascadeDetector, FaceDetector
from diffrig_emo.datasets.photos import align_window, crop_photo
from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.io.json_files import write_json
from diffrig_emo.morphable import EMOCA, DetailDecoder, MorphableEncoder
from diffrig_emo.structures import FaceBatch, FaceCodes
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.transforms.edits import transfer_expression
from diffrig_emo.utils.assets import AssetNotFoundError, locate_asset
from diffrig_emo.utils.devices import choose_device
from diffrig_emo.workflows.choose_encoder import ChosenEncoder, choose_encoder
from diffrig_emo.workflows.mesh_files import (
    FaceSpace,
    Head,
    MeshFormat,
    detailed_head,
    face_space,
    texture_of,
    write_heads,
    write_turntable,
)

_ENCODED = 256
"""Side in pixels of the aligned pictures that codes refer to."""
_FINEST = 1024
"""Side at most of the aligned picture that the texture is taken from: two pixels per texel of the usual map."""
_SYNTHETIC = 512
"""Side of the synthetic photograph."""


class _Face(NamedTuple):
    picture: Float[Tensor, "1 3 side side"]
    """The aligned picture, as fine as the photo has it."""
    codes: FaceCodes
    """Their `tform` refers to a picture of `_ENCODED` pixels."""


def mesh(
    source: Path | None = None,
    target: Path | None = None,
    output: Path = Path("mesh"),
    formats: list[MeshFormat] = ["obj", "glb"],  # noqa: B006
    clip: Literal["mp4", "gif"] | None = "mp4",
    source_encoder: MorphableEncoder | Path | None = None,
    target_encoder: MorphableEncoder | Path | None = None,
    detector: FaceDetector | None = None,
    face_policy: Literal["largest", "center"] | int = "largest",
    detail_decoder: DetailDecoder | None = None,
    keep_light: bool = True,
    uv_size: int = 512,
    face: int = 0,
) -> None:
    """Put a face into 3D files: its mesh, its texture from the photograph, and a turntable; and again after an edit.

    Writes `source` and, with a target, `edited` (the source with the target's expression) in each format, and
    `source_detail`, `edited_detail` with wrinkles where the encoder gives them; all share `texture.png`. `turntable`
    shows them side by side, and `mesh.json` tells the settings and what was left out. Metres, +y up, +z out of the
    face.

    Example: `diffrig-emo mesh --output face --clip gif` needs no photograph and no official file.

    Args:
        source: the photograph. None makes a synthetic one, whose codes are known.
        target: a photograph whose expression the edit takes.
        output: folder for the results.
        formats: of the meshes: obj (the model's own vertices), ply, glb.
        clip: format of the turntable; null makes none.
        source_encoder: reads the source's codes: a class such as DECA or EMOCA (both find their files among the
            assets; or `--source_encoder.path FILE`; `--source_encoder.detail true` for wrinkles), or a run of ours
            (`demo_output/encoder`), to which the whole photo is the face. None is EMOCA if its files are found, else
            DECA, with wrinkles.
        target_encoder: reads the target's codes, of the same code space. None is the source's encoder.
        detector: finds faces; None is `CascadeDetector`. Landmarks beside a photo (`.txt`, `.mat`) come first.
        face_policy: which face of a photo with several: largest, center, or its number from the left.
        detail_decoder: draws the wrinkles; give the file that the encoder comes from
            (`--detail_decoder.path FILE`). None looks for it among the assets.
        keep_light: leave the photograph's light in the texture; viewers shall then add none. False divides it out,
            as far as the codes tell it.
        uv_size: side of the texture in texels.
        face: which synthetic face, where there is no source.

    Raises:
        FileNotFoundError: when a photograph, the encoder or the face model is missing.
        ValueError: when a photograph or a setting cannot be used.
    """
    if not formats or len(set(formats)) < len(formats):
        raise ValueError(f"formats: expected one or more different ones of obj, ply, glb, got {formats}")
    if uv_size < 16 or face < 0:
        raise ValueError(f"expected uv_size of at least 16 and face of at least 0, got {uv_size} and {face}")
    console = Console(highlight=False, soft_wrap=True)
    device = choose_device()
    find = CascadeDetector() if detector is None else detector
    chosen = None if source is None and target is None else choose_encoder(source_encoder, detail=True)
    if source is None or chosen is None:
        own = _synthetic(face, device)
    else:
        own = _read(source, chosen, device, find, face_policy)
    heads = {"source": own.codes}
    if target is not None:
        other = chosen if target_encoder is None else choose_encoder(target_encoder)
        assert other is not None  # there is one as soon as there is a photograph
        goal = _read(target, other, device, find, face_policy)
        heads["edited"] = transfer_expression(own.codes, goal.codes)

    space = face_space(own.codes.space)
    space.model.to(device)
    if space.texture is not None:
        space.texture.to(device)
    made = texture_of(own.picture, own.codes, space, uv_size, _ENCODED if own.codes.tform is not None else None)
    texture = (made.lit if keep_light else made.albedo)[0]
    coarse = {name: _coarse(codes, space) for name, codes in heads.items()}
    detail, skipped = _with_wrinkles(heads, space, detail_decoder, chosen)

    write_image(output / "texture.png", texture)
    files = write_heads(output, coarse | detail, output / "texture.png", formats, keep_light)
    if clip is not None:
        light = None if keep_light else own.codes.light[0]
        files.append(output / f"turntable.{clip}")
        write_turntable(files[-1], list((detail or coarse).values()), texture, light)
    settings = {
        "source": f"synthetic://0/{face}" if source is None else str(source),
        "target": None if target is None else str(target),
        "encoder": "none" if source is None or chosen is None else chosen.name,
        "space": own.codes.space,
        "unit": "metre",
        "keep_light": keep_light,
        "files": ["texture.png", *(path.name for path in files)],
        "skipped": skipped,
    }
    write_json(output / "mesh.json", settings)
    for what, reason in skipped.items():
        console.print(f"no {what}: {reason}", markup=False)
    console.print(f"{output}: {', '.join(path.name for path in files)}", markup=False)


@torch.no_grad()
def _synthetic(number: int, device: torch.device) -> _Face:
    face = SyntheticFaces(number + 1, _SYNTHETIC)[number]
    return _Face(face["image"][None].to(device), face["codes"].to(device))


@torch.no_grad()
def _read(
    path: Path,
    chosen: ChosenEncoder,
    device: torch.device,
    detector: FaceDetector,
    face_policy: Literal["largest", "center"] | int,
) -> _Face:
    """Photo to codes, and the aligned picture as fine as is of use."""
    encoder = chosen.model.to(device).encoder
    if chosen.takes_whole:
        photo = read_image(path)
        whole = torch.tensor([0.0, 0.0, photo.shape[2] - 1, photo.shape[1] - 1])
        codes = chosen.model.encode(FaceBatch(image=align_window(photo, whole, _ENCODED)[1][None].to(device)))
        picture = align_window(photo, whole, _side(min(photo.shape[1:])))[1][None]
    else:
        crop = crop_photo(path, _ENCODED, detector, encoder.image_size, face_policy=face_policy)
        assert crop.photo_to_aligned is not None  # crop_photo always gives it
        codes = chosen.model(crop.to(device))
        zoom = math.sqrt(abs(float(torch.linalg.det(crop.photo_to_aligned[0, :2, :2]))))
        side = _side(_ENCODED / zoom)
        finer = crop_photo(path, side, detector, encoder.image_size, face_policy=face_policy)
        assert finer.aligned is not None
        picture = finer.aligned
    return _Face(picture.to(device), codes.require_finite())


def _side(wanted: float) -> int:
    return min(max(round(wanted), _ENCODED), _FINEST)


@torch.no_grad()
def _coarse(codes: FaceCodes, space: FaceSpace) -> Head:
    return Head(space.model(codes).vertices[0], space.model.topology)


def _with_wrinkles(
    heads: dict[str, FaceCodes], space: FaceSpace, decoder: DetailDecoder | None, chosen: ChosenEncoder | None
) -> tuple[dict[str, Head], dict[str, str]]:
    """The heads with wrinkles, or why there are none."""
    codes = heads["source"]
    if codes.detail is None or chosen is None:
        whose = "a synthetic face" if chosen is None else f"{chosen.name}"
        return {}, {"detail": f"{whose} has no wrinkle code; DECA and EMOCA give one with --source_encoder.detail true"}
    try:
        if decoder is None:
            # The encoder does not tell its file: the one among the assets is its own, unless another was given.
            decoder = DetailDecoder(locate_asset("emoca") if isinstance(chosen.model.encoder, EMOCA) else None)
        decoder = decoder.to(codes.exp.device)
        return {f"{name}_detail": detailed_head(c, space, decoder) for name, c in heads.items()}, {}
    except AssetNotFoundError as error:
        return {}, {"detail": str(error)}
