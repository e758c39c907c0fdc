import csv
import errno
import math
import os
import shutil

import h5py
import numpy as np
import pytest
import torch
from jsonargparse import auto_cli

import diffrig_emo.workflows.prepare as module
from diffrig_emo.datasets import CodeStore, StoreWriter
from diffrig_emo.datasets.detectors import CascadeDetector, DetectedFaces, FaceDetector
from diffrig_emo.datasets.photos import crop_photo
from diffrig_emo.datasets.store_parts import parts_folder
from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.utils.assets import AssetNotFoundError
from diffrig_emo.workflows.choose_encoder import ChosenEncoder, choose_encoder
from diffrig_emo.workflows.prepare import prepare
from tests.preparing import MeanColours, Middle, content, run, write_photos


@pytest.fixture
def folder(tmp_path):
    write_photos(tmp_path / "photos", 7)
    return tmp_path / "photos"


def test_every_photo_is_stored_or_listed(folder, tmp_path, capsys):
    (folder / "a" / "torn.jpg").write_bytes(b"\xff\xd8\xff and then nothing")
    (folder / "notes.txt").write_text("no photo")
    output = tmp_path / "out" / "faces.h5"
    run(folder, output, store_images=True, num_workers=1, batch_size=2)
    store = CodeStore(output)
    assert [note["key"] for note in store.notes()] == [
        p.relative_to(folder).as_posix() for p in sorted(folder.rglob("*.png"))
    ]
    assert (store.provenance[0]["encoder"], store.provenance[0]["detector"]) == ("MeanColours", "Middle")
    with output.with_name("skipped.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert row["key"] == "a/torn.jpg"
    assert "complete picture" in row["reason"]
    assert not parts_folder(output).exists()
    for number, note in enumerate(store.notes()):
        crop = crop_photo(folder / note["key"], 32, Middle(), 32)
        expected = MeanColours()(crop)
        torch.testing.assert_close(store[number]["codes"].shape, expected.shape)
        torch.testing.assert_close(store[number]["codes"].tform, crop.tform)
        assert abs(store[number]["image"] - crop.aligned[0]).max() < 0.01  # JPEG
    assert store.column("quality_score") == pytest.approx(0.9)
    printed = capsys.readouterr().out
    for words in (
        "8 photographs, 0 of them done before",
        "MeanColours",
        "for 8 photos, judged by",
        "7 faces",
        "1 photos skipped",
    ):
        assert words in printed


def test_the_same_command_again_does_only_what_is_new(folder, tmp_path, monkeypatch):
    output = tmp_path / "faces.h5"
    run(folder, output, limit=3)
    assert len(CodeStore(output)) == 3
    run(folder, output)
    before, modified = content(output), output.stat().st_mtime_ns
    assert len(before) == 7
    with monkeypatch.context() as patch:
        patch.setattr(MeanColours, "forward", lambda *_: pytest.fail("encoded again"))
        run(folder, output)
    assert output.stat().st_mtime_ns == modified
    write_image(folder / "a" / "new.png", torch.rand(3, 48, 48))
    run(folder, output)
    assert content(output).keys() - before.keys() == {"a/new.png"}
    with pytest.raises(ValueError, match=r"is there already"):
        run(folder, output, resume=False)


class Two(FaceDetector):
    """Sees a small face on the left and a large one on the right."""

    def __call__(self, photo):
        boxes = torch.tensor([[40.0, 10, 80, 50], [5, 20, 15, 30]])
        return DetectedFaces(boxes, torch.tensor([0.9, 0.4]), "bbox")


def test_every_face_of_a_photo_has_its_own_key(tmp_path):
    photo = torch.zeros(3, 64, 96)
    photo[0, :, :32] = 1  # red, left
    write_image(tmp_path / "photos" / "pair.png", photo)
    run(tmp_path / "photos", tmp_path / "all.h5", detector=Two(), face_policy="all")
    store = CodeStore(tmp_path / "all.h5")
    assert [(note["key"], note.get("path")) for note in store.notes()] == [
        ("pair.png", None),
        ("pair.png#1", "pair.png"),
    ]
    np.testing.assert_allclose(store.column("quality_score"), [0.4, 0.9], rtol=1e-6)
    assert store.codes([0]).shape[0, 0] > 0.9
    run(tmp_path / "photos", tmp_path / "one.h5", detector=Two())
    np.testing.assert_allclose(CodeStore(tmp_path / "one.h5").column("quality_score"), [0.9], rtol=1e-6)


def test_an_album_keeps_its_mean_shape(folder, tmp_path):
    run(folder, tmp_path / "faces.h5", album=True)
    store = CodeStore(tmp_path / "faces.h5")
    torch.testing.assert_close(store.mean_shape, store.codes().shape.mean(dim=0))


def test_a_full_disk_is_one_error(folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(OSError, match=r"faces.h5: no room on the disk \(it needs about"):
            run(folder, tmp_path / "faces.h5")
    pwrite = os.pwrite

    def full(descriptor, data, offset):
        if len(data) > 500:  # locks may be written
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match=r"no room on the disk .* run the same command again"):
            run(folder, tmp_path / "faces.h5")
    run(folder, tmp_path / "faces.h5")
    assert len(CodeStore(tmp_path / "faces.h5")) == 7


def test_a_place_that_cannot_be_written_is_one_error(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"faces.h5: a store cannot be written there \(.*\); choose another path"):
        run(folder, tmp_path / "file" / "faces.h5")


def test_a_failing_encoder_keeps_what_was_done(folder, tmp_path, monkeypatch):
    calls = []
    forward = MeanColours.forward

    def failing(self, crop):
        calls.append(0)
        if len(calls) > 4:
            raise RuntimeError("out of memory")
        return forward(self, crop)

    monkeypatch.setattr(MeanColours, "forward", failing)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(folder, tmp_path / "faces.h5", batch_size=2)
    monkeypatch.setattr(MeanColours, "forward", forward)
    with StoreWriter(tmp_path / "faces.h5", _provenance_of_parts(tmp_path / "faces.h5")) as writer:
        assert "a/000.png" in writer
    run(folder, tmp_path / "faces.h5")
    assert len(CodeStore(tmp_path / "faces.h5")) == 7


def _provenance_of_parts(path):
    part = next(parts_folder(path).glob("rank*.h5"))
    return module.read_layout(part).about.provenance[0]


def test_bad_requests_are_refused_before_any_work(folder, tmp_path):
    output = tmp_path / "faces.h5"
    for name in ("image_size", "limit", "batch_size", "devices", "num_nodes"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            run(folder, output, **{name: 0})
    with pytest.raises(FileNotFoundError, match="expected a folder of photographs"):
        run(tmp_path / "nowhere", output)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="got none"):
        run(tmp_path / "empty", output)
    assert not parts_folder(output).exists()
    run(folder, output)
    write_photos(tmp_path / "others", 2)
    with pytest.raises(ValueError, match=r"'photos', not of 'others'"):
        run(tmp_path / "others", output)


def test_photos_of_nobody_only(tmp_path):
    write_image(tmp_path / "photos" / "grey.png", torch.full((3, 64, 64), 0.5))
    with pytest.raises(ValueError, match=r"none of the 1 photographs could be used; .*skipped.csv says why"):
        run(tmp_path / "photos", tmp_path / "faces.h5", detector=CascadeDetector())


def test_the_best_encoder_that_is_available(official_assets, tmp_path, monkeypatch):
    with pytest.raises(
        AssetNotFoundError, match=r"neither EMOCA's nor DECA's files were found.*deca_model.tar.*demo_output"
    ):
        choose_encoder()
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(official_assets))
    assert choose_encoder().name == "EMOCA"
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(official_assets / "data"))
    shutil.copytree(official_assets / "data", tmp_path / "deca")
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(tmp_path / "deca"))
    deca = choose_encoder()
    assert (deca.name, deca.takes_whole) == ("DECA", False)
    assert deca.digest == choose_encoder().digest
    next(deca.model.encoder.parameters()).data += 1
    assert ChosenEncoder(deca.model, "DECA", False).digest != deca.digest


def test_the_command_prepares_with_official_files(official_assets, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(official_assets))
    words = ["prepare", "--images", str(photos), "--output", str(tmp_path / "faces.h5"), "--encoder", "DECA"]
    words += ["--image_size=64", "--num_workers=0", "--detector", "CascadeDetector"]
    auto_cli({"prepare": prepare}, args=words, as_positional=False)
    store = CodeStore(tmp_path / "faces.h5")
    assert [note["key"] for note in store.notes()] == ["anna.png", "ben.png", "cleo.png"]
    assert "no face was found" in store.skipped["nobody.png"]
    assert store.space == "flame2020"
    assert store.column("quality_landmarks").tolist() == [0] * 3, "the cascade gives boxes: they are the meshes'"
    assert np.isfinite(store.column("landmarks")).all()
    with h5py.File(tmp_path / "faces.h5") as file:
        assert file["faces"].dtype.itemsize + len(file["notes"]) / 3 < 2000, "bytes of a face"
    assert "Encoder: DECA" in capsys.readouterr().out


def test_faces_of_a_run_of_ours_are_whole_photos(tmp_path):
    """What `edit` gives such an encoder: the aligned picture, not a crop of it."""
    from diffrig_emo.datasets.photo_faces import whole_crop
    from diffrig_emo.modules import FaceEncoder

    photo = torch.rand(3, 40, 40)
    write_image(tmp_path / "photo.png", photo)
    crop = whole_crop(read_image(tmp_path / "photo.png"), 40, 32)
    encoder = FaceEncoder(MeanColours())
    expected = encoder.encode({"image": read_image(tmp_path / "photo.png")[None]})
    torch.testing.assert_close(encoder.predict_step({"crop": crop}).shape, expected.shape)
    assert crop.tform is None
    assert math.isclose(float(crop.photo_to_aligned[0, 0, 0]), 1.0)
