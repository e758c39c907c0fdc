import csv
import io
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffrig_emo.datasets import CodeStore
from diffrig_emo.datasets.store_parts import parts_folder
from diffrig_emo.workflows.import_lmdb import import_lmdb

lmdb = pytest.importorskip("lmdb")


def picture(number, size=16):
    y, x = np.mgrid[0:size, 0:size] / size
    return np.stack([200 * x, 200 * y, np.full_like(x, number % 256)], axis=2).astype(np.uint8)


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def make_cache(folder, count, broken=None):
    environment = lmdb.open(str(folder), map_size=2**30)
    with environment.begin(write=True) as transaction:
        for number in range(count):
            data = (broken or {}).get(number, png(picture(number)))
            if data is not None:
                transaction.put(f"image_{number:06d}".encode(), data)
        transaction.put(b"length", str(count).encode())
    environment.close()
    (folder / "mean_shape.pkl").write_bytes(pickle.dumps(torch.full((1, 100), 0.5)))
    return folder


def test_pictures_and_mean_shape_arrive(tmp_path, capsys):
    cache = make_cache(tmp_path / "ffhq", 12)
    import_lmdb(str(cache), str(tmp_path / "out" / "faces.h5"), image_size=16)
    store = CodeStore(tmp_path / "out" / "faces.h5")
    assert len(store) == 12
    assert store.space == ""
    assert store.mean_shape.tolist() == [0.5] * 100
    for number in range(12):
        item = store[number]
        assert (item["path"], item["source"]) == (f"image_{number:06d}", "ffhq")
        error = item["image"].permute(1, 2, 0) * 255 - torch.from_numpy(picture(number)).float()
        assert error.abs().mean() < 3
    assert store.provenance[0]["imported_from"] == "ffhq"
    assert store.provenance[0]["encoding"] == "jpeg 95"
    assert "12 faces" in capsys.readouterr().out


def test_lossless_and_resized(tmp_path):
    cache = make_cache(tmp_path / "album", 2)
    import_lmdb(str(cache), str(tmp_path / "same.h5"), image_size=16, lossless=True)
    assert CodeStore(tmp_path / "same.h5").image_bytes(1) == png(picture(1))
    import_lmdb(str(cache), str(tmp_path / "half.h5"), image_size=8, lossless=True)
    image = CodeStore(tmp_path / "half.h5")[1]["image"]
    wanted = Image.fromarray(picture(1)).resize((8, 8), Image.Resampling.LANCZOS)
    assert torch.equal((image * 255).round().byte(), torch.from_numpy(np.array(wanted)).permute(2, 0, 1))


def test_corrupt_records_are_listed_and_the_rest_arrives(tmp_path, capsys):
    whole = png(picture(0))
    broken = {1: whole[:60], 4: b"not a picture", 5: None, 7: b""}
    cache = make_cache(tmp_path / "ffhq", 9, broken)
    import_lmdb(str(cache), str(tmp_path / "faces.h5"), image_size=16)
    assert len(CodeStore(tmp_path / "faces.h5")) == 5
    rows = list(csv.reader((tmp_path / "skipped.csv").read_text().splitlines()))
    assert [row[0] for row in rows[1:]] == [f"image_{number:06d}" for number in broken]
    assert all(row[1] for row in rows[1:])
    assert "4 skipped" in capsys.readouterr().out
    # Repaired records arrive with the next run, behind the others.
    make_cache(tmp_path / "ffhq", 9)
    import_lmdb(str(cache), str(tmp_path / "faces.h5"), image_size=16)
    store = CodeStore(tmp_path / "faces.h5")
    assert len(store) == 9
    assert store.skipped == {}


def test_kill_and_the_same_command_again(tmp_path, capsys):
    cache = make_cache(tmp_path / "ffhq", 700, {3: b"broken"})
    script = """
        import sys, time
        import diffrig_emo.workflows.import_lmdb as module
        encode = module.encode_jpeg
        def slow(pixels):
            if pixels[0, 0, 2] == 600 % 256 and (parts := list(module.Path(sys.argv[2]).glob("rank*.h5"))):
                if len(parts) == 2:
                    print("ready", flush=True)
                    time.sleep(60)
            return encode(pixels)
        module.encode_jpeg = slow
        module.import_lmdb(sys.argv[1], sys.argv[2][: -len(".parts")], image_size=16)
    """
    store = tmp_path / "faces.h5"
    command = [sys.executable, "-c", textwrap.dedent(script), str(cache), str(parts_folder(store))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as process:
        assert "ready\n" in iter(process.stdout.readline, "")
        process.send_signal(signal.SIGKILL)
    assert not store.exists()
    import_lmdb(str(cache), str(store), image_size=16)
    assert "512 of them done before" in capsys.readouterr().out
    keys = [note["key"] for note in CodeStore(store).notes()]
    assert keys == [f"image_{number:06d}" for number in range(700) if number != 3]
    assert list(CodeStore(store).skipped) == ["image_000003"]


def test_other_settings_do_not_continue_a_run(tmp_path):
    cache = make_cache(tmp_path / "ffhq", 2)
    import_lmdb(str(cache), str(tmp_path / "faces.h5"), image_size=16)
    with pytest.raises(ValueError, match="image_size must be at least 8"):
        import_lmdb(str(cache), str(tmp_path / "faces.h5"), image_size=0)
    with pytest.raises(FileNotFoundError, match=r"data.mdb"):
        import_lmdb(str(tmp_path / "nothing"), str(tmp_path / "faces.h5"))
