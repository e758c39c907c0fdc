import csv
import json

import pytest
import torch

from diffrig_emo.cli import main
from diffrig_emo.conditioning.recenter import face_center, recenter
from diffrig_emo.datasets.detectors import CascadeDetector
from diffrig_emo.io.images import read_image
from diffrig_emo.modules import FaceDiffusion, FaceEncoder
from diffrig_emo.morphable import DECA, EMOCA
from diffrig_emo.transforms.edits import transfer_expression, transfer_pose
from diffrig_emo.workflows.demo import demo
from diffrig_emo.workflows.edit import edit, edit_face, read_face
from diffrig_emo.workflows.load import load_encoder, load_rig


@pytest.fixture
def lab(official_assets, monkeypatch):
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(official_assets))
    return official_assets


@pytest.fixture
def rig(lab):
    return load_rig(lab / "checkpoints" / "model050000.pt")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What the shortest possible demo leaves behind."""
    folder = tmp_path_factory.mktemp("run")
    demo(str(folder), steps=1, encoder_steps=1, train_faces=32, test_faces=4)
    return folder


@pytest.mark.parametrize(("source_encoder", "target_encoder"), [("DECA", None), ("DECA", "EMOCA"), ("EMOCA", "EMOCA")])
def test_the_command_edits_with_official_files(lab, photos, tmp_path, source_encoder, target_encoder):
    out = tmp_path / "edits"
    words = ["--source", str(photos / "anna.png"), "--target", str(photos / "ben.png"), "--output", str(out)]
    words += ["--rig", str(lab / "checkpoints" / "model050000.pt"), "--modes=[exp,pose]", "--steps=4"]
    words += ["--source_encoder", source_encoder]
    words += ["--target_encoder", target_encoder] if target_encoder else []
    main(["edit", *words])
    assert sorted(p.name for p in out.iterdir()) == ["anna_ben_exp.png", "anna_ben_pose.png", "edit.json", "grid.png"]
    assert read_image(out / "anna_ben_exp.png").shape == (3, 64, 64)
    settings = json.loads((out / "edit.json").read_text())
    assert settings["source_encoder"] == source_encoder
    assert settings["target_encoder"] == target_encoder or source_encoder


@pytest.mark.parametrize("words", [["--rig=model.pt"], ["--source_encoder=DECA"]])
def test_missing_official_files_are_named_without_a_traceback(photos, tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pt").touch()
    with pytest.raises(SystemExit) as stopped:
        main(["edit", "--source", str(photos / "anna.png"), "--target", str(photos / "ben.png"), *words])
    said = f"{stopped.value}{capsys.readouterr().err}"
    assert ("generic_model.pkl" if "--rig=model.pt" in words else "deca_model.tar") in said
    assert "Where to get it" in said


def test_expression_comes_from_the_targets_encoder_and_the_rest_from_the_sources(rig, photos):
    find = CascadeDetector()
    source = read_face(photos / "anna.png", rig, DECA(), find)
    target = read_face(photos / "ben.png", rig, EMOCA(), find)
    deca_target = read_face(photos / "ben.png", rig, DECA(), find)
    assert not torch.allclose(target.codes.exp, deca_target.codes.exp)
    torch.testing.assert_close(target.codes.jaw_pose, deca_target.codes.jaw_pose)
    edited = transfer_expression(source.codes, target.codes)
    assert torch.equal(edited.exp, target.codes.exp)
    assert torch.equal(edited.shape, source.codes.shape)
    assert source.codes.tform is not None
    assert source.aligned.shape == (1, 3, 64, 64)


def test_an_edited_face_stays_in_its_place(rig, photos):
    find = CascadeDetector()
    encoder = DECA()
    source, target = (read_face(photos / f"{name}.png", rig, encoder, find) for name in ("anna", "ben"))
    model = rig.conditioners[0].face_model
    turned = target.codes.replace(pose=target.codes.pose + torch.tensor([0.1, 0.5, 0, 0, 0, 0]))
    edited = recenter(transfer_pose(source.codes, turned), source.codes, model)
    torch.testing.assert_close(face_center(model(edited).landmarks2d), face_center(model(source.codes).landmarks2d))
    mean_shape = torch.randn(100)
    result = edit_face(rig, source, target, ["exp", "latent"], mean_shape=mean_shape)
    assert result.pictures.shape == result.rendered.shape == (2, 3, 64, 64)
    plain = edit_face(rig, source, target, ["exp", "latent"])
    assert not torch.allclose(result.rendered, plain.rendered)


def test_a_folder_with_a_run_of_ours_and_a_photo_that_cannot_be_used(run, photos, tmp_path):
    (tmp_path / "sources").mkdir()
    for name in ("anna.png", "cleo.png"):
        (tmp_path / "sources" / name).write_bytes((photos / name).read_bytes())
    (tmp_path / "sources" / "torn.png").write_bytes((photos / "anna.png").read_bytes()[:500])
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"1 of 3 photographs could not be used.*the other 2 are done"):
        edit(
            source=tmp_path / "sources",
            target=photos / "ben.png",
            rig=run / "rig",
            output=out,
            modes=["light", "latent"],
            source_encoder=run / "encoder",
            steps=2,
        )
    names = {p.name for p in out.glob("*_ben_*.png")}
    assert names == {f"{who}_ben_{mode}.png" for who in ("anna", "cleo") for mode in ("light", "latent")}
    with (out / "skipped.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["path"].endswith("torn.png") for row in rows] == [True]
    assert "complete picture" in rows[0]["reason"]


def test_bad_requests_are_refused_before_any_work(run, photos, tmp_path, lab):
    with pytest.raises(ValueError, match="modes"):
        edit(photos / "anna.png", photos / "ben.png", modes=[])
    with pytest.raises(FileNotFoundError, match="does not exist"):
        edit(tmp_path / "none.png", photos / "ben.png")
    with pytest.raises(ValueError, match=r"nobody\.png: no face was found"):
        edit(photos / "anna.png", photos / "nobody.png", rig=lab / "checkpoints" / "model050000.pt", output=tmp_path)
    with pytest.raises(ValueError, match="expected the run of a FaceDiffusion, got that of a FaceEncoder"):
        load_rig(run / "encoder")
    with pytest.raises(ValueError, match="synthetic1"):  # DECA's codes mean nothing to a rig of synthetic faces
        edit(photos / "anna.png", photos / "ben.png", rig=run / "rig", source_encoder=DECA(), output=tmp_path)


def test_runs_load_in_eval_mode_and_misfits_are_named(run, tmp_path):
    assert isinstance(load_rig(run / "rig"), FaceDiffusion)
    encoder = load_encoder(run / "encoder" / "last.ckpt")
    assert isinstance(encoder, FaceEncoder)
    assert not encoder.training
    (tmp_path / "config.yaml").write_bytes((run / "rig" / "config.yaml").read_bytes())
    with pytest.raises(FileNotFoundError, match="expected a model file"):
        load_rig(tmp_path)
    (tmp_path / "last.ckpt").write_bytes((run / "encoder" / "last.ckpt").read_bytes())
    with pytest.raises(ValueError, match="describes another model"):
        load_rig(tmp_path)
