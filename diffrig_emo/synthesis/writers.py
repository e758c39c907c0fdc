"""Synthetic faces as files, in the layouts of the real data sets.

A killed run can be started again: pictures that are complete are kept, and lists appear last.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from diffrig_emo.io.atomic import atomic_path
from diffrig_emo.io.json_files import write_json
from diffrig_emo.structures import FaceBatch
from diffrig_emo.synthesis.camera import encode_jpeg
from diffrig_emo.synthesis.faces import SyntheticFaces

_JPEG_QUALITY = 97
_BATCH = 16


def write_ffhq(faces: SyntheticFaces, folder: str | Path, *, val_fraction: float = 1 / 7, codes: bool = True) -> None:
    """Write faces as FFHQ does: `images{S}x{S}/00000/00000.png` and `ffhq-dataset-v2.json`.

    The records hold `category`, `metadata` and `image` with landmarks in pixels of the aligned picture; there
    are no photographs in the wild. As in FFHQ (10,000 of 70,000) the validation faces come last.

    Args:
        faces: what to write.
        folder: where to; made when missing, resumed when it holds part of the same faces.
        val_fraction: share of the validation faces.
        codes: also write `codes.safetensors`, the true codes in order.

    Raises:
        ValueError: when `folder` holds other faces, or `val_fraction` is not between 0 and 1.
    """
    folder, n_train = _open(faces, folder, "ffhq", val_fraction)
    size = faces.image_size

    def place(index: int) -> str:
        return f"images{size}x{size}/{index // 1000 * 1000:05d}/{index:05d}.png"

    _write_pictures(faces, folder, place, _encode_png)
    truth, records = faces.truth(), {}
    for index in range(len(faces)):
        data = (folder / place(index)).read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            pixels = image.tobytes()
        records[str(index)] = {
            "category": "training" if index < n_train else "validation",
            "metadata": {
                "photo_url": truth["path"][index],
                "photo_title": "synthetic face",
                "author": "diffrig_emo SyntheticFaces",
                "country": "",
                "license": "Public Domain",
                "license_url": "",
                "date_uploaded": "",
                "date_crawled": "",
            },
            "image": {
                "file_url": "",
                "file_path": place(index),
                "file_size": len(data),
                "file_md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
                "pixel_size": [size, size],
                "pixel_md5": hashlib.md5(pixels, usedforsecurity=False).hexdigest(),
                "face_landmarks": [[round(v, 3) for v in point] for point in truth["landmarks"][index].tolist()],
            },
        }
    _write_codes(truth, folder, codes)
    with atomic_path(folder / "ffhq-dataset-v2.json") as path:
        path.write_text(json.dumps(records), encoding="utf-8")


def write_affectnet_csv(
    faces: SyntheticFaces, folder: str | Path, *, val_fraction: float = 0.1, codes: bool = True
) -> None:
    """Write faces as AffectNet's original release does: pictures in numbered folders, and two CSV lists.

    `Manually_Annotated/Manually_Annotated_Images/<folder>/<hash>.jpg` and
    `Manually_Annotated_file_lists/{training,validation}.csv` with its nine columns.

    Args:
        faces: what to write.
        folder: where to; made when missing, resumed when it holds part of the same faces.
        val_fraction: share of the validation faces, which are the last ones.
        codes: also write `codes.safetensors`, the true codes in order (training, then validation).

    Raises:
        ValueError: when `folder` holds other faces, or `val_fraction` is not between 0 and 1.
    """
    folder, n_train = _open(faces, folder, "affectnet_csv", val_fraction)
    root = Path("Manually_Annotated/Manually_Annotated_Images")

    def place(index: int) -> str:
        name = hashlib.sha224(f"synthetic://{faces.seed}/{index}".encode()).hexdigest()
        return f"{1 + index // 100}/{name}.jpg"

    _write_pictures(faces, folder / root, place, _encode_jpeg)
    truth = faces.truth()
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    for name, numbers in (("training", range(n_train)), ("validation", range(n_train, len(faces)))):
        with atomic_path(folder / f"Manually_Annotated_file_lists/{name}.csv") as path, path.open("w", newline="") as f:
            rows = csv.writer(f)
            rows.writerow(header.split(","))
            for index in numbers:
                landmarks = truth["landmarks"][index]
                margin, side = _face_box(landmarks, faces.image_size)
                points = ";".join(f"{v:.2f}" for v in landmarks.flatten().tolist())
                emotion = (int(truth["label"][index]), *(f"{v:.6f}" for v in truth["va"][index].tolist()))
                rows.writerow([place(index), margin, margin, side, side, points, *emotion])
    _write_codes(truth, folder, codes)


def write_affectnet_npy(
    faces: SyntheticFaces, folder: str | Path, *, val_fraction: float = 0.1, codes: bool = True
) -> None:
    """Write faces as AffectNet's cropped release does: `{train_set,val_set}/{images,annotations}`.

    Every `images/<n>.jpg` has `annotations/<n>_{exp,val,aro,lnd}.npy`; as in the release, the first three
    are 0-d arrays of strings, and the landmarks are 136 numbers, x and y in turn.

    Args:
        faces: what to write.
        folder: where to; made when missing, resumed when it holds part of the same faces.
        val_fraction: share of the validation faces, which are the last ones.
        codes: also write `codes.safetensors`, the true codes in order (training, then validation).

    Raises:
        ValueError: when `folder` holds other faces, or `val_fraction` is not between 0 and 1.
    """
    folder, n_train = _open(faces, folder, "affectnet_npy", val_fraction)

    def part(index: int) -> str:
        return "train_set" if index < n_train else "val_set"

    _write_pictures(faces, folder, lambda index: f"{part(index)}/images/{index}.jpg", _encode_jpeg)
    truth = faces.truth()
    for index in range(len(faces)):
        valence, arousal = truth["va"][index].tolist()
        annotations: dict[str, Any] = {
            "exp": np.array(str(int(truth["label"][index]))),
            "val": np.array(f"{valence:.6f}"),
            "aro": np.array(f"{arousal:.6f}"),
            "lnd": truth["landmarks"][index].flatten().double().numpy(),
        }
        for name, value in annotations.items():
            with atomic_path(folder / part(index) / f"annotations/{index}_{name}.npy") as path:
                np.save(path, value, allow_pickle=False)
    _write_codes(truth, folder, codes)


def _open(faces: SyntheticFaces, folder: str | Path, layout: str, val_fraction: float) -> tuple[Path, int]:
    """Check that the folder is new or holds these very faces; return it and the number of training faces."""
    if not 0 <= val_fraction <= 1:
        raise ValueError(f"write_{layout}: val_fraction must be between 0 and 1, got {val_fraction}")
    folder = Path(folder)
    n_train = len(faces) - round(len(faces) * val_fraction)
    names = ("num_faces", "image_size", "seed", "images_per_identity", "supersample", "noise")
    wanted = {"layout": layout, "num_train": n_train, **{name: getattr(faces, name) for name in names}}
    note = folder / "synthetic.json"
    if note.exists():
        found = json.loads(note.read_text(encoding="utf-8"))
        if found != wanted:
            odd = sorted(k for k in wanted if found.get(k) != wanted[k])
            raise ValueError(
                f"write_{layout}: folder {folder} holds other synthetic faces (they differ in {', '.join(odd)}); "
                "choose another folder or delete it"
            )
    else:
        write_json(note, wanted)
    return folder, n_train


def _write_pictures(
    faces: SyntheticFaces, folder: Path, place: Callable[[int], str], encode: Callable[[Tensor], bytes]
) -> None:
    missing = [index for index in range(len(faces)) if not (folder / place(index)).exists()]
    if not missing:
        return
    for batch in faces.batches(_BATCH, missing):
        for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
            with atomic_path(folder / place(index)) as path:
                path.write_bytes(encode(image))


def _encode_png(image: Float[Tensor, "3 size size"]) -> bytes:
    pixels = (image.permute(1, 2, 0) * 255).round().byte().numpy()
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "png")
    return data.getvalue()


def _encode_jpeg(image: Float[Tensor, "3 size size"]) -> bytes:
    return encode_jpeg(image, _JPEG_QUALITY)


def _face_box(landmarks: Float[Tensor, "68 2"], size: int) -> tuple[int, int]:
    """Margin and side of the smallest centred square around the landmarks: x equals y in AffectNet's boxes."""
    reach = float((landmarks - (size - 1) / 2).abs().max()) * 1.05
    margin = max(int(size / 2 - reach), 0)
    return margin, size - 2 * margin


def _write_codes(truth: FaceBatch, folder: Path, wanted: bool) -> None:
    if not wanted:
        return
    codes = truth["codes"]
    names = ("shape", "tex", "exp", "pose", "cam", "light")
    with atomic_path(folder / "codes.safetensors") as path:
        save_file({name: getattr(codes, name).contiguous() for name in names}, path, {"space": codes.space})
