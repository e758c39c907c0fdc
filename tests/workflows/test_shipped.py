"""The models that come with the package work as they come."""

import pytest
import torch

from diffrig_emo.conditioning import BufferConditioner
from diffrig_emo.metrics.functional.image import psnr
from diffrig_emo.modules import EmotionEditor, FaceEncoder
from diffrig_emo.structures import face_collate
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.workflows import shipped
from diffrig_emo.workflows.edit_evaluation import EditJudge
from diffrig_emo.workflows.experiment import load_experiment
from diffrig_emo.workflows.load import load_rig, load_run
from diffrig_emo.workflows.shipped import (
    shipped_encoder,
    shipped_latent_emotion,
    shipped_recognizer,
    shipped_rig,
    shipped_run,
    write_small_run,
)

NAMES = ("encoder", "recognizer", "rig")


def test_a_run_made_small_comes_back(tmp_path):
    options = ["--model.init_args.encoder.init_args.model_name=test_resnet"]
    model = load_experiment("fit_encoder_synthetic_64.yaml", options).model
    size = write_small_run(model, tmp_path / "small", "fit_encoder_synthetic_64.yaml", options)
    assert size < 1.1 * sum(t.numel() * 2 for t in model.state_dict().values()) + 50_000
    again = load_run(tmp_path / "small", FaceEncoder)
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = (m.eval().encode({"image": image}) for m in (model, again))
    torch.testing.assert_close(theirs.exp, ours.exp, atol=2e-3, rtol=1e-2)
    assert again.encoder.head.weight.dtype == torch.float32


def test_all_are_there_in_16_megabytes():
    sizes = [path.stat().st_size for name in NAMES for path in shipped_run(name).iterdir()]
    assert sum(sizes) <= 16_000_000


def test_a_package_without_them_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped.resources, "files", lambda package: tmp_path)
    with pytest.raises(FileNotFoundError, match="install it again"):
        shipped_rig()


def test_a_shipped_file_is_a_rig_by_its_path():
    rig = load_rig(shipped_run("rig") / "model.safetensors")
    assert not rig.training
    assert all(p.dtype == torch.float32 for p in rig.parameters())


@pytest.mark.slow
def test_photo_in_photo_out_on_people_whom_nobody_has_met():
    rig, encoder = shipped_rig(), shipped_encoder()
    bridge = next(c for c in rig.conditioners if isinstance(c, BufferConditioner))
    judge = EditJudge(SyntheticFaces(8, 64, seed=650), bridge)
    codes = encoder.encode(judge.batch)
    edited = judge.run(rig, "expression", codes)
    before, after = edited.source, edited.edit
    changed = edited.regions["changed"]
    gain = psnr(after, edited.true_edit, changed).nanmean() - psnr(before, edited.true_edit, changed).nanmean()
    assert gain > 2, f"the edit is {gain:.2f} dB nearer to the true edit than the source"


def test_emotions_are_read():
    batch = face_collate(SyntheticFaces(48, 64, seed=650).__getitems__(list(range(48))))
    with torch.no_grad():
        found = shipped_recognizer()(batch["image"]).label
    assert (found == batch["label"]).float().mean() > 0.7


@pytest.mark.slow
@torch.no_grad()
def test_the_latent_emotion_model_finds_faces_again_whom_nobody_has_met():
    editor = EmotionEditor(shipped_latent_emotion(), num_inference_steps=20, guidance_scale=1.0)
    batch = face_collate(SyntheticFaces(8, 64, seed=650).__getitems__(list(range(8))))
    painted = editor.rig.decode(editor.rig.encode(batch["image"]))
    assert psnr(painted, batch["image"]).mean() > 26
    assert psnr(editor.reconstruct(batch), painted).mean() > 26
