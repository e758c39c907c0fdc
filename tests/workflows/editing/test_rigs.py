"""Rigs that know no codes, rigs of FLAME's codes, and rigs that do not fit."""

import json

import pytest
import torch

from diffrig_emo.conditioning import EmotionLabelConditioner
from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.io.provenance import read_provenance
from diffrig_emo.perception import ExpressionPrototypes
from diffrig_emo.workflows.editing import rigs
from diffrig_emo.workflows.editing.changes import Request, plan
from diffrig_emo.workflows.editing.rigs import Reach
from diffrig_emo.workflows.experiment import load_experiment
from diffrig_emo.workflows.shipped import write_small_run


@pytest.fixture(scope="module")
def wordy(tmp_path_factory):
    """The run of a rig that takes emotions by name, without training."""
    config = "fit_expression_ddim_synthetic_64.yaml"
    folder = tmp_path_factory.mktemp("wordy")
    model = load_experiment(config, ["--trainer.logger=false", "--trainer.callbacks=null"]).model
    write_small_run(model, folder, config)
    return folder


def test_a_rig_without_codes_is_asked_in_words(shipped, people, painted, cli, wordy, tmp_path):
    write_image(tmp_path / "anna.png", people["images"][0])
    out = cli("--source", tmp_path / "anna.png", "--rig", wordy, "--emotion=fear", "--strength=0.75")
    (call,) = painted
    assert call["codes"] is None
    assert call["batch"]["target_label"].tolist() == [4]
    assert call["batch"]["target_strength"].tolist() == [0.75]
    assert call["batch"]["label"].tolist() == [-1]
    torch.testing.assert_close(read_image(out / "anna_fear.png"), people["images"][0] / 2, atol=0.005, rtol=0)
    painted.clear()
    cli("--source", tmp_path / "anna.png", "--rig", wordy, "--valence=0.5")
    assert painted[0]["batch"]["target_va"].tolist() == [[0.5, 0.0]]
    assert "target_label" not in painted[0]["batch"]
    for words, message in {
        ("--set=exp[0]=1",): "set: it changes codes, but this rig knows none",
        ("--emotion=happy", "--region=mouth"): "region: it changes codes",
        ("--target", str(tmp_path / "anna.png")): "exp is nothing that this rig can take",
        ("--target", str(tmp_path / "anna.png"), "--modes=[pose]"): "pose is nothing that this rig can take",
        ("--emotion=happy", "--interpolate=3"): "between codes",
    }.items():
        with pytest.raises(SystemExit) as stopped:
            cli("--source", tmp_path / "anna.png", "--rig", wordy, *words)
        assert message in str(stopped.value)


def test_a_rig_without_codes_really_paints(shipped, people, cli, wordy, tmp_path):
    write_image(tmp_path / "anna.png", people["images"][0])
    out = cli("--source", tmp_path / "anna.png", "--rig", wordy, "--emotion=fear", "--steps=2")
    assert read_image(out / "anna_fear.png").shape == (3, 64, 64)


def test_a_latent_emotion_model_paints_pictures_of_its_own_size(shipped, people, cli, tmp_path):
    config = "fit_latent_emotion_synthetic_64.yaml"
    model = load_experiment(config, ["--trainer.logger=false", "--trainer.callbacks=null"]).model
    write_small_run(model, tmp_path / "latent", config)
    write_image(tmp_path / "anna.png", people["images"][0])
    out = cli(
        "--source",
        tmp_path / "anna.png",
        "--rig",
        tmp_path / "latent",
        "--emotion=sad",
        "--steps=2",
        "--guidance_scale=4",
    )
    assert read_image(out / "anna_sad.png").shape == (3, 64, 64)


def test_labels_reach_their_conditioner_and_valence_does_not():
    reach = Reach(64, None, None, EmotionLabelConditioner(dim=8))
    (edit,) = plan(Request(emotion="anger"), reach, read=None)
    assert edit.wish.label == 6
    with pytest.raises(ValueError, match="no conditioner that could be asked"):
        plan(Request(valence=0.5), reach, read=None)


def test_flame_needs_prototypes(official_assets, photos, cli, painted, monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(official_assets))
    words = ["--source", photos / "anna.png", "--emotion=happy", "--strength=0.5"]
    with pytest.raises(SystemExit, match="give --prototypes FILE"):
        cli(*words)
    exp, jaw = torch.randn(8, 50), torch.zeros(8, 3)
    exp[7] = torch.nan
    ExpressionPrototypes(exp, jaw, "flame2020").write(tmp_path / "flame.npz")
    out = cli(*words, "--prototypes", tmp_path / "flame.npz")
    torch.testing.assert_close(painted[0]["codes"].exp[0], (exp[0] + exp[1]) / 2, atol=1e-5, rtol=0)
    assert (out / "anna_happy.png").is_file()
    for name, space, size, emotion, message in (
        ("other", "synthetic1", 50, "happy", "expected prototypes of 50 coefficients of space 'flame2020', got 50 of"),
        ("short", "flame2020", 40, "happy", "got 40 of 'flame2020'"),
        ("flame", "flame2020", 50, "contempt", "the prototypes know no face of contempt"),
    ):
        if name != "flame":
            ExpressionPrototypes(torch.randn(8, size), jaw, space).write(tmp_path / f"{name}.npz")
        with pytest.raises(SystemExit) as stopped:
            cli("--source", photos / "anna.png", "--emotion", emotion, "--prototypes", tmp_path / f"{name}.npz")
        assert message in str(stopped.value)


def test_official_files_come_first_where_there_is_a_photograph(official_assets, monkeypatch, small_rig):
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(official_assets))
    monkeypatch.setattr(rigs, "shipped_rig", lambda: small_rig)
    assert rigs.choose_rig()[1] == "asset diffusionrig"
    assert rigs.choose_rig(photographs=False) == (small_rig, "shipped")


def test_a_rig_that_does_not_fit_is_named(shipped, painted, cli, wordy, tmp_path):
    folder = tmp_path / "other"
    folder.mkdir()
    config = (wordy / "config.yaml").read_text().replace("base_channels: 32", "base_channels: 48")
    (folder / "config.yaml").write_text(config)
    (folder / "model.safetensors").write_bytes((wordy / "model.safetensors").read_bytes())
    with pytest.raises(SystemExit, match="describes another model"):
        cli("--rig", folder, "--emotion=happy")
    with pytest.raises(SystemExit, match=r"has no bundled face|expected a model file"):
        cli("--rig", tmp_path / "out", "--emotion=happy")


def test_every_target_may_have_an_encoder_of_its_own(shipped, people, painted, cli, tmp_path):
    config = "fit_encoder_synthetic_64.yaml"
    torch.manual_seed(0)
    other = load_experiment(config, ["--trainer.logger=false", "--trainer.callbacks=null"]).model.eval()
    write_small_run(other, tmp_path / "other", config)
    for number, name in enumerate(("anna", "ben", "cleo")):
        write_image(tmp_path / f"{name}.png", people["images"][number])
    out = cli(
        *("--source", tmp_path / "anna.png", "--targets.exp", tmp_path / "ben.png"),
        *("--targets.light", tmp_path / "cleo.png", "--target_encoders.exp", tmp_path / "other"),
    )
    seen = other.encode({"image": read_image(tmp_path / "ben.png")[None]})
    torch.testing.assert_close(painted[0]["codes"].exp, seen.exp, atol=0.02, rtol=0.02)
    assert not torch.allclose(seen.exp, people["codes"].exp[1:2], atol=0.05)
    torch.testing.assert_close(painted[0]["codes"].light[0], people["codes"].light[2])
    said = read_provenance(out / "anna_ben_exp_cleo_light.png").settings
    assert said["target_encoders"] == {"exp": "other"}
    assert str(tmp_path) not in str(said), "nobody's folders"
    assert json.loads((out / "edit.json").read_text())["targets"]["light"] == str(tmp_path / "cleo.png")
