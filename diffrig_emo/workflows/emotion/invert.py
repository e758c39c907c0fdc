"""`diffrig-emo invert-emotions`: inverted latents, once, for finetuning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from diffrig_emo.datasets.inverted_faces import write_inverted_faces
from diffrig_emo.modules import EmotionEditor
from diffrig_emo.structures import FaceBatch
from diffrig_emo.synthesis import SyntheticFaces, SyntheticScenes
from diffrig_emo.synthesis.population import N_EMOTIONS
from diffrig_emo.utils.devices import choose_device
from diffrig_emo.workflows.emotion.parts import load_data, load_latent, load_recognizer


def invert_emotions(
    rig: str,
    output: str = "inverted.safetensors",
    data: str | None = None,
    faces: int = 1100,
    recognizer: str | None = None,
    steps: int = 40,
    strength: float = 0.5,
    image_size: int = 64,
    batch_size: int = 16,
    scenes: bool = False,
) -> None:
    """Invert labelled faces by a latent emotion model, for `EmotionFinetuning` to start from.

    Kept are the autoencoder's reconstructions, which finetuning compares with, and the latents at the last step; both
    without guidance.

    Args:
        rig: run or checkpoint of the latent emotion model, or shipped.
        output: the file, read by `InvertedFacesDataModule`.
        data: YAML of a DataModule, such as data/affectnet_labels_128.yaml, whose training faces are drawn in its own
            order; None takes synthetic faces.
        faces: how many; the last ones will validate.
        recognizer: tells the emotion of faces without a label: the run of an ExpressionRecognizer, HSEmotion's ONNX
            file, or shipped; None refuses such faces.
        steps: steps of the inversion.
        strength: how far up, as a share of the schedule.
        image_size: side of synthetic faces in pixels.
        batch_size: faces at a time.
        scenes: synthetic faces come in scenes of eight that differ in the emotion alone, so that finetuning can ask for
            true edits.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: when a number is out of range, or there are fewer faces.
    """
    if faces < 2 or batch_size < 1:
        raise ValueError(f"faces, batch_size: expected at least 2 and 1, got {faces} and {batch_size}")
    if Path(output).suffix != ".safetensors":
        raise ValueError(f"output: expected a .safetensors file, got {output}")
    if scenes and (data is not None or faces % N_EMOTIONS):
        raise ValueError(
            f"scenes: expected synthetic faces, a multiple of {N_EMOTIONS} of them, got data={data} and faces={faces}"
        )
    reader = None if recognizer is None else load_recognizer(recognizer, synthetic=data is None)
    model = load_latent(rig)
    editor = EmotionEditor(model, reader, steps, strength, guidance_scale=1.0).to(choose_device())
    if data is None:
        people = SyntheticScenes(faces // N_EMOTIONS, image_size) if scenes else SyntheticFaces(faces, image_size)
        loader: Any = people.batches(batch_size)
        batches = -(-faces // batch_size)
    else:
        module = load_data(data)
        module.setup("fit")
        loader = module.train_dataloader()
        batches = -(-faces // module.batch_size)  # type: ignore[attr-defined]
        if batches > len(loader):
            raise ValueError(f"faces: expected at most {len(loader) * module.batch_size}, got {faces}")  # type: ignore[attr-defined]
    kept: dict[str, list[torch.Tensor]] = {"image": [], "latent": [], "label": [], "index": []}
    for batch, _ in zip(track(loader, "Inverting", batches), range(batches), strict=False):
        found = _invert(editor, batch)
        for name, tensors in kept.items():
            tensors.append(found[name].cpu())  # type: ignore[literal-required]
    whole: Any = {name: torch.cat(tensors)[:faces] for name, tensors in kept.items()}
    scene = whole["index"] // N_EMOTIONS if scenes else None
    write_inverted_faces(output, whole, editor.timesteps[-1], scene)
    Console().print(json.dumps({"output": output, "faces": len(whole["label"]), "last_step": editor.timesteps[-1]}))


@torch.no_grad()
def _invert(editor: EmotionEditor, batch: FaceBatch) -> FaceBatch:
    image = batch["image"].to(editor.device)
    faces = FaceBatch(image=image, index=batch["index"])
    if "label" in batch:
        faces["label"] = batch["label"].to(image.device)
    faces["label"] = editor.source_label(faces)
    faces["latent"] = editor.invert(faces)
    faces["image"] = editor.rig.decode(editor.rig.encode(image))
    return faces
