"""`diffrig-emo diffae`: photographs through a diffusion autoencoder, with an attribute changed, and on into 3D."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from rich.console import Console

from diffrig_emo.datasets.detectors import CascadeDetector, FaceDetector
from diffrig_emo.diffusion import SemanticDirections
from diffrig_emo.io.images import write_image
from diffrig_emo.io.json_files import write_json
from diffrig_emo.morphable import MorphableEncoder
from diffrig_emo.workflows.autoencoder import bundled_picture, load_autoencoder, load_directions, read_picture
from diffrig_emo.workflows.mesh import mesh as mesh_of_photo
from diffrig_emo.workflows.mesh_files import MeshFormat
from diffrig_emo.workflows.shipped import shipped_run


def diffae(
    source: Path | None = None,
    attribute: str | None = None,
    strength: float = 0.3,
    output: Path = Path("diffae"),
    autoencoder: Path | None = None,
    classifier: Path | None = None,
    start: Literal["inverted", "noise"] = "inverted",
    steps: int = 20,
    encode_steps: int | None = None,
    mesh: bool = False,
    encoder: MorphableEncoder | Path | None = None,
    formats: list[MeshFormat] = ["obj", "glb"],  # noqa: B006
    clip: Literal["mp4", "gif"] | None = "mp4",
    detector: FaceDetector | None = None,
    face_policy: Literal["largest", "center"] | int = "largest",
    whole: bool = False,
    seed: int = 0,
    face: int = 0,
) -> None:
    """Take a photograph apart into semantic code and noise, change the code along an attribute, and paint it again.

    Writes `source.png` as the autoencoder sees it, `reconstruction.png` and, with an attribute, `edited.png`,
    `strip.png` with them side by side, and `diffae.json`. With `--mesh true`, the edited photograph (or the
    reconstruction) is encoded by a face model, and its texture map and textured 3D face are written to `mesh/`.

    Example: `diffrig-emo diffae --attribute happy --output happy --mesh true` needs no photograph and no official file;
    `diffrig-emo diffae --source anna.jpg --autoencoder ffhq256_autoenc/last.ckpt --classifier
    ffhq256_autoenc_cls/last.ckpt --attribute Smiling --encode_steps 250 --steps 100` is the authors' own demonstration.

    Args:
        source: the photograph. None makes a synthetic one.
        attribute: what to change: an emotion, such as happy, or one of the official classifier's forty attributes, such
            as Smiling. None only reconstructs.
        strength: how far, in square roots of the code's size; 0.3 is clear, negative goes the other way.
        output: folder for the results.
        autoencoder: an official checkpoint, or a run of ours. None is the small one of synthetic faces that comes with
            the package.
        classifier: has the attribute: the official one, or a run of ours, of the autoencoder's codes. None is that of
            the small autoencoder.
        start: "inverted" paints from the photograph's own noise, which keeps what the code does not hold; "noise" from
            another one, which changes such details.
        steps: DDIM steps of painting.
        encode_steps: DDIM steps of finding the photograph's noise; None is as many.
        mesh: also write the face in 3D.
        encoder: reads the codes for it, as `source_encoder` of `diffrig-emo mesh`. None is the shipped one of synthetic
            faces where there is no source, else EMOCA or DECA.
        formats: of the meshes: obj, ply, glb.
        clip: format of the turntable; null makes none.
        detector: finds faces; None is `CascadeDetector`. Landmarks beside a photo (`.txt`, `.mat`) come first.
        face_policy: which face of a photo with several: largest, center, or its number from the left.
        whole: the photograph is cut as FFHQ's already: take it as it is.
        seed: with the face's number, fixes the noise where painting starts from noise.
        face: which synthetic face, where there is no source.

    Raises:
        FileNotFoundError: when the photograph or a model is missing.
        ValueError: when the photograph, a model or a setting cannot be used.
    """
    console = Console(highlight=False, soft_wrap=True)
    model = load_autoencoder(autoencoder)
    directions: SemanticDirections | None = None
    if attribute is not None:
        if classifier is None and autoencoder is not None:
            raise ValueError("classifier: expected one of this autoencoder's codes beside the attribute, got none")
        directions = load_directions(classifier, model)
        directions.find(attribute)
    if source is None:
        image = bundled_picture(face, model.image_size)
    else:
        find = CascadeDetector() if detector is None else detector
        image = read_picture(source, model.image_size, find, face_policy, whole)
    z = model.code(image)
    if start == "inverted":
        x_t = model.latent(image, z, steps if encode_steps is None else encode_steps)
    else:
        x_t = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    pictures = {"source": image[0], "reconstruction": model.paint(z, x_t, steps)[0].cpu()}
    if directions is not None and attribute is not None:
        with torch.no_grad():
            moved = directions.move(z, attribute, strength)
        pictures["edited"] = model.paint(moved, x_t, steps)[0].cpu()
    for name, picture in pictures.items():
        write_image(output / f"{name}.png", picture)
    write_image(output / "strip.png", torch.cat(list(pictures.values()), dim=2))
    settings = {
        "source": f"synthetic://3/{face}" if source is None else str(source),
        "autoencoder": "shipped" if autoencoder is None else str(autoencoder),
        "classifier": None if directions is None else "shipped" if classifier is None else str(classifier),
        "attribute": attribute,
        "strength": None if attribute is None else strength,
        "start": start,
        "steps": steps,
        "encode_steps": encode_steps,
        "seed": seed,
        "reconstruction_mse": float((pictures["reconstruction"] - pictures["source"]).square().mean()),
    }
    write_json(output / "diffae.json", settings)
    console.print(f"{output}: {', '.join(pictures)}", markup=False)
    if mesh:
        last = output / f"{list(pictures)[-1]}.png"
        chosen = shipped_run("encoder") if encoder is None and source is None else encoder
        mesh_of_photo(
            last, output=output / "mesh", formats=formats, clip=clip, source_encoder=chosen, detector=detector
        )
