import csv
import errno
import io
import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import auto_cli
from PIL import Image

import diffrig_emo.workflows.prepare as module
from diffrig_emo.datasets import CodeStore, StoreLockedError, StoreWriter
from diffrig_emo.datasets.detectors import CascadeDetector, DetectedFaces, FaceDetector
from diffrig_emo.datasets.photos import crop_photo
from diffrig_emo.datasets.store_parts import parts_folder
from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.morphable.base import MorphableEncoder
from diffrig_emo.structures import FaceCodes
from diffrig_emo.utils.assets import AssetNotFoundError
from diffrig_emo.workflows.choose_encoder import ChosenEncoder, choose_encoder
from diffrig_emo.workflows.prepare import prepare


class MeanColours(MorphableEncoder):
    """Calls the mean colour of a crop its shape: codes that tell one photo from another."""

    space = "colours"
    image_size = 32

    def forward(self, crop):
        zeros = FaceCodes.zeros(crop.batch_size, n_shape=3, n_tex=1, n_exp=1, space=self.space)
        return zeros.replace(shape=crop.image.mean(dim=(2, 3)), tform=crop.tform)


class Middle(FaceDetector):
    """Sees a face in the middle of everything."""

    def __call__(self, photo):
        height, width = photo.shape[1:]
        box = torch.tensor([[0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height]])
        return DetectedFaces(box, torch.tensor([0.9]), "bbox")


def write_photos(folder, count, size=48):
    generator = torch.Generator().manual_seed(0)
    for number in range(count):
        photo = torch.rand(3, 1, 1, generator=generator).expand(-1, size, size)
        write_image(folder / "abc"[number % 3] / f"{number:03d}.png", photo)


def run(folder, output, **settings):
    prepare(
        folder,
        output,
        **{"encoder": MeanColours(), "detector": Middle(), "image_size": 32, "num_workers": 0, **settings},
    )


def content(path):
    """All of a store by key."""
    store = CodeStore(path)
    columns = {name: store.column(name) for name in store.columns}
    found = {
        note["key"]: (json.dumps(note), store.image_bytes(i), *(columns[name][i].tobytes() for name in store.columns))
        for i, note in enumerate(store.notes())
    }
    assert len(found) == len(store), "a face is stored twice"
    return found


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


def test_pictures_that_are_not_stored_are_cut_out_of_the_photos(tmp_path):
    write_image(tmp_path / "photos" / "wide.png", torch.rand(3, 32, 64))
    run(tmp_path / "photos", tmp_path / "faces.h5")
    crop = crop_photo(tmp_path / "photos" / "wide.png", 32, Middle(), 32)
    again = CodeStore(tmp_path / "faces.h5", image_root=tmp_path / "photos", image_size=32)[0]["image"]
    torch.testing.assert_close(again, crop.aligned[0], atol=1e-4, rtol=0)


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


def serve(root):
    """Run in a process of its own, where forking is safe, because no thread has started yet."""
    torch.set_num_threads(1)
    module._FLUSH_EVERY = 2
    _two_ranks(Path(root) / "few", Path(root) / "ranks" / "faces.h5")
    _kill_at_random(Path(root) / "many", Path(root) / "killed" / "faces.h5")


def _fork(**environment):
    pid = os.fork()
    os.environ.update(environment if pid == 0 else {})
    return pid


def _child(folder, output, **settings):
    """The rest of a forked process."""
    try:
        run(folder, output, store_images=True, batch_size=2, **settings)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _kill_at_random(folder, output):
    moments = random.Random(0)
    longest = 0.8
    for _ in range(10):
        pid = _fork()
        if pid == 0:
            _child(folder, output, num_workers=1)
        started = time.monotonic()
        wait = moments.uniform(0, longest)
        while time.monotonic() - started < wait and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.002)
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):  # done before
            longest = min(longest, time.monotonic() - started)
        if output.exists():
            content(output)
    pid = _fork()
    if pid == 0:
        _child(folder, output, num_workers=1)
    assert os.waitpid(pid, 0)[1] == 0


def _two_ranks(folder, output):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "LOCAL_RANK": "0"}
    pids = []
    for rank in range(2):
        pids.append(_fork(**shared, NODE_RANK=str(rank)))
        if pids[-1] == 0:
            _child(folder, output, num_nodes=2)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """What `serve` left behind: its folder, and what it printed while it wrote with two ranks and was killed."""
    root = tmp_path_factory.mktemp("served")
    write_photos(root / "few", 7)
    write_photos(root / "many", 30)
    (root / "many" / "torn.png").write_bytes(b"\x89PNG")
    here = Path(__file__)
    code = f"import sys; sys.path.insert(0, {str(here.parent)!r}); import {here.stem} as t; t.serve(sys.argv[1])"
    command = [sys.executable, "-W", "ignore", "-c", code, str(root)]
    done = subprocess.run(command, cwd=here.parents[2], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return root, done.stdout


def test_killed_at_random_moments_nothing_is_lost_or_twice(served, tmp_path):
    root, _ = served
    killed = root / "killed" / "faces.h5"
    run(root / "many", tmp_path / "undisturbed.h5", store_images=True)
    assert content(killed) == content(tmp_path / "undisturbed.h5")
    assert CodeStore(killed).skipped.keys() == {"torn.png"}
    assert not parts_folder(killed).exists()


def test_many_machines_make_the_same_store_as_one(served, tmp_path):
    root, printed = served
    run(root / "few", tmp_path / "one.h5", store_images=True)
    assert content(root / "ranks" / "faces.h5") == content(tmp_path / "one.h5")
    assert printed.count("faces.h5: 7 faces") == 1, "only the first process speaks"


def test_two_processes_do_not_prepare_one_store(folder, tmp_path):
    with (
        StoreWriter(tmp_path / "faces.h5", {"encoder": "MeanColours"}),
        pytest.raises(StoreLockedError, match=rf"pid {os.getpid()}\) is writing this store"),
    ):
        run(folder, tmp_path / "faces.h5")


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
    assert "Encoder: DECA" in capsys.readouterr().out


def test_five_hundred_broken_files_are_each_stored_or_listed(tmp_path):
    """Mutations of good files of every kind: bytes changed, cut out, doubled, cut off."""
    rng = random.Random(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    originals = _pictures()
    for number in range(500):
        name, data = originals[number % len(originals)]
        data = bytearray(data)
        for _ in range(rng.randint(0, 3)):
            at = rng.randrange(max(1, len(data)))
            change = rng.randrange(4)
            if change == 0 and data:
                data[at] = rng.randrange(256)
            elif change == 1:
                del data[at : at + rng.randrange(40)]
            elif change == 2:
                data[at:at] = data[at : at + 20]
            else:
                del data[at:]
        (folder / f"{number:03d}{name}").write_bytes(data)
    run(folder, tmp_path / "faces.h5")
    store = CodeStore(tmp_path / "faces.h5")
    stored = {note["key"] for note in store.notes()}
    assert stored | store.skipped.keys() == {path.name for path in folder.iterdir()}
    assert not stored & store.skipped.keys()
    assert min(len(stored), len(store.skipped)) > 50
    assert all(store.skipped.values())


def _pictures():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    rgb = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    kinds = [
        (".jpg", rgb, {"format": "JPEG", "exif": exif}),
        (".jpeg", rgb.convert("CMYK"), {"format": "JPEG"}),
        (".png", rgb.convert("P"), {"format": "PNG", "transparency": 0}),
        (".png", rgb.convert("RGBA"), {"format": "PNG"}),
        (".png", rgb.convert("L"), {"format": "PNG"}),
        (".png", Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), {"format": "PNG"}),
        (".webp", rgb, {"format": "WEBP", "save_all": True, "append_images": [rgb.rotate(90)]}),
        (".bmp", rgb, {"format": "BMP"}),
        (".jpg", rgb, {"format": "GIF"}),
    ]
    found = [(".jpg", b""), (".png", b"no picture at all")]
    for suffix, picture, options in kinds:
        stream = io.BytesIO()
        picture.save(stream, **options)
        found.append((suffix, stream.getvalue()))
    return found


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
