"""`diffrig-emo compare` on tiny systems."""

from __future__ import annotations

import csv
import json
import math

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.transform import resize

from diffrig_emo.cli import main
from diffrig_emo.diffusion import ConditionedUNet, LinearSchedule
from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.io.provenance import read_provenance
from diffrig_emo.modules import EmotionEditor, FaceDiffusion
from diffrig_emo.structures import FaceCodes
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.transforms.edits import transfer_expression
from diffrig_emo.transforms.resizing import resize_picture
from diffrig_emo.workflows.compare import systems, verb
from diffrig_emo.workflows.compare.faces import HELD_OUT
from diffrig_emo.workflows.compare.verb import compare
from tests.workflows.compare.conftest import Happy, tiny_encoder, tiny_label_rig, tiny_rig, whole_encoder


def result_of(output):
    return json.loads((output / "compare.json").read_text(encoding="utf-8"))


def rows_of(output):
    with (output / "figures.csv").open(encoding="utf-8") as file:
        return {(row["face"], row["system"]): row for row in csv.DictReader(file)}


@pytest.fixture
def people(tmp_path):
    """Photographs of five, each its face, whole."""
    faces = SyntheticFaces(5, 32, seed=8)
    for i in range(5):
        write_image(tmp_path / "people" / f"p{i}.png", faces[i]["image"])
    return tmp_path / "people"


@pytest.fixture
def ran(monkeypatch):
    """Names of the systems that painted."""
    names = []
    paint = verb.paint_faces

    def painting(faces, system, *rest):
        names.append(system.name)
        return paint(faces, system, *rest)

    monkeypatch.setattr(verb, "paint_faces", painting)
    return names


def test_the_command_of_the_help_compares_what_is_shipped(shipped, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert "diffrig-emo compare --num_faces 4 --output comparison" in " ".join(capsys.readouterr().out.split())
    output = tmp_path / "comparison"
    main(["compare", "--num_faces", "3", "--output", str(output), "--steps=2"])
    assert {p.name for p in output.iterdir()} == {"report.html", "compare.json", "figures.csv", "systems"}
    result = result_of(output)
    assert list(result["systems"]) == ["render_delta", "rig", "rig_true_codes"]
    assert len(result["faces"]) == 3
    assert set(result["means"]["rig"]) == set(result["means"]["render_delta"])
    assert "edit_true_psnr" in result["means"]["rig"]
    # What needs files that are not there says so.
    assert result["not_measured"].keys() == {
        "reconstruction_lpips", "edit_lpips", "reconstruction_csim", "edit_csim",
    }  # fmt: skip
    assert "ArcFaceEmbedder was not found" in result["not_measured"]["edit_csim"]
    assert result["costs"]["rig"]["sample"] > 0
    assert "sample" not in result["costs"]["render_delta"]
    assert result["costs"]["rig"]["rig_parameters"] * 1e6 == sum(p.numel() for p in tiny_rig().parameters())
    assert len(rows_of(output)) == 9
    said = read_provenance(output / "systems" / "rig" / "face_001_edit.png")
    assert said is not None
    assert said.settings == {"system": "rig", "face": "face_001", "picture": "edit"}
    said = capsys.readouterr().out
    assert "published: StarGAN v2" in said
    assert "not independent" in said
    assert "too few" in said


def test_figures_are_those_that_scikit_image_finds_in_the_pictures(shipped, tmp_path):
    output = tmp_path / "out"
    compare({"rig": {"rig": tiny_rig(), "encoder": whole_encoder()}}, output=output, num_faces=3, steps=2)
    faces = SyntheticFaces(3, 32, HELD_OUT)
    codes = faces.codes()
    rows = rows_of(output)
    for i in range(3):
        row = rows[f"face_{i:03d}", "rig"]
        target = transfer_expression(codes[i], codes[(i + 1) % 3])
        before, after = (
            faces.photograph([i], codes=c, clean=True)[0].permute(1, 2, 0).numpy() for c in (codes[i], target)
        )
        edit, again = (
            read_image(output / "systems" / "rig" / f"face_{i:03d}_{what}.png").permute(1, 2, 0).numpy()
            for what in ("edit", "reconstruction")
        )
        photo = faces[i]["image"].permute(1, 2, 0).numpy()
        changed = np.abs(before - after).max(axis=2) > 8 / 255
        mse = np.square(edit - after)[changed].mean()
        assert float(row["edit_true_psnr"]) == pytest.approx(-10 * math.log10(mse), abs=0.1)  # the files have 8 bits
        psnr = peak_signal_noise_ratio(photo, again, data_range=1)
        assert float(row["reconstruction_psnr"]) == pytest.approx(psnr, abs=0.1)
        wanted = {"channel_axis": 2, "data_range": 1, "gaussian_weights": True, "sigma": 1.5}
        ssim = structural_similarity(edit, photo, use_sample_covariance=False, **wanted)
        assert float(row["edit_ssim"]) == pytest.approx(ssim, abs=0.01)
    # The recogniser sees happiness everywhere.
    happy = [float(faces[(i + 1) % 3]["label"] == 1) for i in range(3)]
    assert [float(rows[f"face_{i:03d}", "rig"]["emotion_accuracy"]) for i in range(3)] == happy
    assert result_of(output)["means"]["rig"]["edit_true_psnr"]["mean"] == pytest.approx(
        np.mean([float(row["edit_true_psnr"]) for row in rows.values()]), rel=1e-4
    )


def test_true_codes_have_true_landmarks(shipped, tmp_path):
    compare({"truth": {"encoder": "truth"}, "read": {"encoder": tiny_encoder()}}, output=tmp_path, num_faces=2)
    rows = rows_of(tmp_path)
    assert float(rows["face_000", "truth"]["landmark_error"]) < 0.01
    assert float(rows["face_000", "read"]["landmark_error"]) > 1
    assert result_of(tmp_path)["size"] == 64


def test_what_has_run_does_not_run_again(shipped, tmp_path, ran):
    two = {"delta": {"encoder": "shipped"}, "rig": {"rig": "shipped", "encoder": "shipped"}}
    options = {"output": tmp_path, "num_faces": 2, "steps": 2}
    compare(two, **options)
    first = (tmp_path / "figures.csv").read_text()
    assert ran == ["delta", "rig"]
    compare(two, **options)
    assert ran == ["delta", "rig"]
    assert (tmp_path / "figures.csv").read_text() == first
    compare(two | {"true": {"encoder": "truth"}}, **options)
    assert ran == ["delta", "rig", "true"]
    compare(two, **options | {"steps": 4})
    assert ran == ["delta", "rig", "true", "delta", "rig"]
    (tmp_path / "systems" / "rig" / "face_001_edit.png").unlink()
    compare(two, **options | {"steps": 4})
    assert ran[5:] == ["rig"]
    compare(two | {"rig": {"rig": "shipped", "encoder": whole_encoder(5)}}, **options | {"steps": 4})
    assert ran[6:] == ["rig"]


def test_a_face_that_one_system_cannot_use_is_left_out_for_all(shipped, tmp_path, people, ran):
    class Shy(type(tiny_encoder())):
        """Has no codes for one of them."""

        def forward(self, crop):
            codes: FaceCodes = super().forward(crop)
            bad = torch.allclose(codes.exp, self.not_this, atol=1e-5)
            return codes.replace(exp=codes.exp * math.nan) if bad else codes

    (people / "torn.png").write_bytes((people / "p0.png").read_bytes()[:300])
    plain = {"plain": {"encoder": "shipped"}}
    output = tmp_path / "out"
    compare(plain, people, output)
    assert result_of(output)["faces"] == ["p0", "p1", "p2", "p3", "p4"]
    shy = tiny_encoder(3)
    shy.__class__ = Shy
    crop = systems.Reader(tiny_encoder(3), True, "")
    shy.not_this = crop.read(resize_picture(read_image(people / "p3.png"), (64, 64))[None], None).exp.detach()
    picky = systems.FaceEncoder(shy).eval()
    compare(plain | {"picky": {"encoder": picky}}, people, output)
    result = result_of(output)
    assert result["faces"] == ["p0", "p1", "p2", "p4"]
    with (output / "skipped.csv").open() as file:
        skipped = {row["path"].rsplit("/")[-1]: row["reason"] for row in csv.DictReader(file)}
    assert skipped.keys() == {"torn.png", "p3.png"}
    assert "picky" in skipped["p3.png"]
    assert ran == ["plain", "plain", "picky"]  # the face that p3 gave its expression to is another one now
    assert {face for face, _ in rows_of(output)} == set(result["faces"])


def test_systems_of_different_sizes_meet_at_the_smaller_one(shipped, tmp_path):
    given = {"small": {"rig": tiny_rig(32), "encoder": "truth"}, "large": {"rig": tiny_rig(48), "encoder": "truth"}}
    compare(given, output=tmp_path, num_faces=2, steps=2)
    result = result_of(tmp_path)
    assert result["size"] == 32
    assert any("small 32, large 48" in note for note in result["notes"])
    assert read_image(tmp_path / "systems" / "large" / "face_000_edit.png").shape == (3, 32, 32)
    # Both were given the same photograph: the larger one, which the smaller system sees resized.
    photo = SyntheticFaces(2, 48, HELD_OUT)[0]["image"].permute(1, 2, 0).numpy()
    again = read_image(tmp_path / "systems" / "small" / "face_000_reconstruction.png").permute(1, 2, 0).numpy()
    seen = resize(photo, (32, 32), anti_aliasing=True)
    psnr = peak_signal_noise_ratio(seen, again.astype(seen.dtype), data_range=1)
    assert float(rows_of(tmp_path)["face_000", "small"]["reconstruction_psnr"]) == pytest.approx(psnr, abs=0.1)


def test_a_judge_reads_for_all_and_is_found_out_where_it_is_no_stranger(shipped, tmp_path):
    given = {"a": {"encoder": "shipped"}, "true": {"encoder": "truth"}}
    compare(given, output=tmp_path / "own", num_faces=2)
    own = result_of(tmp_path / "own")
    assert any("not independent" in note for note in own["notes"])
    assert any("true has no encoder of its own" in note for note in own["notes"])
    compare(given, output=tmp_path / "other", num_faces=2, judge=tiny_encoder(7, size=24))
    other = result_of(tmp_path / "other")
    assert not any("not independent" in note for note in other["notes"])
    assert other["means"]["a"]["beta_drift"] != own["means"]["a"]["beta_drift"]
    compare(given, output=tmp_path / "same", num_faces=2, judge=tiny_encoder())
    assert any("encoder of a itself" in note for note in result_of(tmp_path / "same")["notes"])


def test_photographs_by_deca_and_emoca_through_the_command(official_assets, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(official_assets))
    rig = official_assets / "checkpoints" / "model050000.pt"
    given = f"{{deca: {{rig: {rig}, encoder: DECA}}, emoca: {{rig: {rig}, encoder: DECA, target_encoder: EMOCA}}}}"
    main(["compare", "--systems", given, "--images", str(photos), "--output", str(tmp_path), "--steps=2"])
    result = result_of(tmp_path)
    assert result["faces"] == ["anna", "ben", "cleo"]
    assert list(result["skipped"]) == [str(photos / "nobody.png")]
    assert "no face was found" in (tmp_path / "skipped.csv").read_text()
    assert result["not_measured"]["edit_true_psnr"].startswith("the true edits")
    assert {"detect", "crop", "encode", "render", "invert", "sample", "total"} <= result["costs"]["deca"].keys()
    assert result["costs"]["emoca"]["encoder_parameters"] > result["costs"]["deca"]["encoder_parameters"]
    pictures = [read_image(tmp_path / "systems" / name / "anna_edit.png") for name in ("deca", "emoca")]
    assert not torch.equal(*pictures)
    again = [read_image(tmp_path / "systems" / name / "anna_reconstruction.png") for name in ("deca", "emoca")]
    assert torch.equal(*again)


def test_emotions_of_photographs_are_those_that_the_recogniser_sees(shipped, tmp_path, people):
    compare({"a": {"encoder": "shipped"}}, people, tmp_path / "out", num_faces=3, recognizer=Happy())
    result = result_of(tmp_path / "out")
    assert result["faces"] == ["p0", "p1", "p2"]
    assert result["means"]["a"]["emotion_accuracy"]["mean"] == 1.0
    compare({"a": {"encoder": "shipped"}}, people, tmp_path / "none", num_faces=3)
    assert "onnx" in result_of(tmp_path / "none")["not_measured"]["emotion_accuracy"].lower()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{a: {rigg: x, encoder: shipped}}", r"a: unknown key 'rigg'.*did you mean rig\?"),
        ("{a: {rig: shipped}}", "a: expected an encoder, got none"),
        ("{a: {encoder: Nobody}}", "a: encoder: expected shipped"),
        ("{a: {encoder: runs/none}}", "a: encoder: runs/none does not exist"),
        ("{a: {encoder: shipped, rig: none.pt}}", r"a: rig: none\.pt does not exist"),
        ("{a/b: {encoder: shipped}}", "names"),
        ("{}", "at least one"),
    ],
)
def test_bad_systems_are_named_before_any_work(shipped, tmp_path, given, said, ran):
    with pytest.raises(SystemExit, match=said) as stopped:
        main(["compare", "--systems", given, "--output", str(tmp_path / "out")])
    assert str(stopped.value).startswith("diffrig-emo compare: ")
    assert not (tmp_path / "out").exists()
    assert not ran


def test_what_does_not_fit_is_named_before_any_work(shipped, tmp_path, people, monkeypatch):
    foreign = tiny_encoder()
    foreign.space = "flame2020"
    with pytest.raises(ValueError, match="a: encoder gives codes of space 'flame2020', but the rig is of space 'syn"):
        compare({"a": {"rig": tiny_rig(), "encoder": foreign}}, output=tmp_path / "out")
    with pytest.raises(ValueError, match=r"a: the encoder sees crops of 16 pixels, but the rig .* of 224"):
        compare({"a": {"rig": tiny_rig(), "encoder": tiny_encoder()}}, output=tmp_path / "out")
    with pytest.raises(ValueError, match="target_encoder gives codes of space 'flame2020', but the encoder"):
        compare({"a": {"encoder": tiny_encoder(), "target_encoder": foreign}}, output=tmp_path / "out")
    with pytest.raises(ValueError, match="truth stands for the true codes of synthetic faces"):
        compare({"a": {"encoder": "truth"}}, people, output=tmp_path / "out")
    with pytest.raises(ValueError, match="two photographs or more, got 1"):
        compare({"a": {"encoder": "shipped"}}, people / "p0.png", output=tmp_path / "out")
    with pytest.raises(ValueError, match="num_faces"):
        compare(num_faces=1, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for i in range(1, 5):
        (people / f"p{i}.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="two faces or more that every system can use, got 1"):
        compare({"a": {"encoder": "shipped"}}, people, output=tmp_path / "out")
    assert (tmp_path / "out" / "skipped.csv").is_file()


def test_a_latent_emotion_model_edits_by_the_label_of_the_next_face(shipped, tmp_path, monkeypatch):
    asked = []
    edit = EmotionEditor.regenerate

    def regenerate(editor, latent, batch, label):
        asked.append((int(batch["label"]), int(label)))
        return edit(editor, latent, batch, label)

    monkeypatch.setattr(EmotionEditor, "regenerate", regenerate)
    by_label = {"rig": tiny_label_rig(), "encoder": "shipped"}
    compare(
        {"latent": by_label, "rig": {"rig": "shipped", "encoder": "shipped"}}, output=tmp_path, num_faces=3, steps=2
    )
    own = SyntheticFaces(3, 32, HELD_OUT).truth([0, 1, 2])["label"].tolist()
    following = [*own[1:], own[0]]
    # For every face its edit, then its reconstruction; at last the edit whose memory is measured.
    assert asked[:6] == [pair for a, b in zip(own, following, strict=True) for pair in ((a, b), (a, a))]
    result = result_of(tmp_path)
    for figure in ("beta_drift", "edit_true_psnr"):
        name = next(n for n in result["means"]["latent"] if figure in n)
        assert math.isfinite(result["means"]["latent"][name]["mean"])
    assert any("by the name of the next face's emotion" in note for note in result["notes"])


def test_labels_of_photographs_are_read_by_the_recogniser_or_refused(shipped, people, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        EmotionEditor, "invert", lambda editor, batch: asked.append(batch["label"].tolist()) or batch["image"][:, :1]
    )
    monkeypatch.setattr(EmotionEditor, "regenerate", lambda editor, latent, batch, label: batch["image"])
    latent = {"latent": {"rig": tiny_label_rig(), "encoder": "shipped"}}
    compare(latent, people, tmp_path / "read", recognizer=Happy(), steps=2)
    assert asked
    assert all(label == [1] for label in asked)
    with pytest.raises(ValueError, match=r"systems: latent: it edits by the names of emotions, .* give a recognizer"):
        compare(latent, people, tmp_path / "refused", steps=2)


def test_a_rig_without_buffers_and_labels_is_refused(shipped, tmp_path):
    unet = ConditionedUNet(image_size=32, base_channels=16, channel_mult=(1, 1), num_res_blocks=1)
    rig = FaceDiffusion(unet, [], LinearSchedule())
    with pytest.raises(ValueError, match="systems: plain: rig: expected one conditioned on physical buffers or on"):
        compare({"plain": {"rig": rig, "encoder": "shipped"}}, output=tmp_path, num_faces=2)
