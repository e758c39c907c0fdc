from __future__ import annotations

import csv
import hashlib
import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from diffrig_emo.synthesis import SyntheticFaces, write_affectnet_csv, write_affectnet_npy, write_ffhq


@pytest.fixture(scope="module")
def few():
    return SyntheticFaces(num_faces=7, image_size=24, seed=5, supersample=1)


def pixels(path):
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255


def check_codes(folder, faces):
    with safe_open(folder / "codes.safetensors", "pt") as file:
        assert file.metadata() == {"space": "synthetic1"}
        for name in ("shape", "tex", "exp", "pose", "cam", "light"):
            assert torch.equal(file.get_tensor(name), getattr(faces.codes(), name))


def test_ffhq_layout(tmp_path, few):
    write_ffhq(few, tmp_path)
    records = json.loads((tmp_path / "ffhq-dataset-v2.json").read_text())
    assert list(records) == [str(i) for i in range(7)]
    assert [r["category"] for r in records.values()] == ["training"] * 6 + ["validation"]
    record = records["6"]["image"]
    assert record["file_path"] == "images24x24/00000/00006.png"
    data = (tmp_path / record["file_path"]).read_bytes()
    assert (record["file_size"], record["file_md5"]) == (len(data), hashlib.md5(data).hexdigest())
    assert record["pixel_size"] == [24, 24]
    np.testing.assert_allclose(record["face_landmarks"], few[6]["landmarks"], atol=1e-3)
    torch.testing.assert_close(pixels(tmp_path / record["file_path"]), few[6]["image"], atol=1e-6, rtol=0)
    assert {"license", "author", "photo_url"} <= set(records["0"]["metadata"])
    check_codes(tmp_path, few)


def test_affectnet_csv_layout(tmp_path, few):
    write_affectnet_csv(few, tmp_path, val_fraction=2 / 7)
    rows = []
    for name, count in (("training", 5), ("validation", 2)):
        with (tmp_path / "Manually_Annotated_file_lists" / f"{name}.csv").open(newline="") as file:
            part = list(csv.DictReader(file))
        assert len(part) == count
        rows += part
    names = "subDirectory_filePath face_x face_y face_width face_height facial_landmarks expression valence arousal"
    assert list(rows[0]) == names.split()
    for index, row in enumerate(rows):
        item = few[index]
        picture = pixels(tmp_path / "Manually_Annotated/Manually_Annotated_Images" / row["subDirectory_filePath"])
        assert (picture - item["image"]).abs().mean() < 0.02
        assert int(row["expression"]) == item["label"]
        np.testing.assert_allclose([float(row["valence"]), float(row["arousal"])], item["va"], atol=1e-6)
        landmarks = np.array(row["facial_landmarks"].split(";"), float).reshape(68, 2)
        np.testing.assert_allclose(landmarks, item["landmarks"], atol=0.006)
        x, y, width, height = (int(row[f"face_{k}"]) for k in ("x", "y", "width", "height"))
        assert x == y
        assert width == height == 24 - 2 * x
        assert (landmarks > x - 1).all()
        assert (landmarks < x + width).all()
    check_codes(tmp_path, few)


def test_affectnet_npy_layout(tmp_path, few):
    write_affectnet_npy(few, tmp_path, val_fraction=2 / 7, codes=False)
    for index in range(7):
        folder, item = tmp_path / ("train_set" if index < 5 else "val_set"), few[index]
        values = {k: np.load(folder / f"annotations/{index}_{k}.npy") for k in ("exp", "val", "aro", "lnd")}
        assert values["exp"].shape == ()
        assert float(values["exp"]) == item["label"]
        np.testing.assert_allclose([float(values["val"]), float(values["aro"])], item["va"], atol=1e-6)
        np.testing.assert_allclose(values["lnd"].reshape(68, 2), item["landmarks"], atol=1e-6)
        assert (pixels(folder / f"images/{index}.jpg") - item["image"]).abs().mean() < 0.02
    assert len(list((tmp_path / "train_set/annotations").iterdir())) == 20
    assert not (tmp_path / "codes.safetensors").exists()


def test_killed_run_is_resumed(tmp_path, few):
    write_ffhq(few, tmp_path)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*.png")}
    lost = tmp_path / "images24x24/00000/00003.png"
    lost.unlink()
    (tmp_path / "ffhq-dataset-v2.json").unlink()
    write_ffhq(few, tmp_path)
    for path, (time, data) in before.items():
        assert path.read_bytes() == data
        assert path == lost or path.stat().st_mtime_ns == time
    assert (tmp_path / "ffhq-dataset-v2.json").exists()
    assert not [p for p in tmp_path.rglob(".*") if p.is_file()], "temporary files are left"


@pytest.mark.parametrize("write", [write_ffhq, write_affectnet_csv, write_affectnet_npy])
def test_other_faces_in_the_folder_are_refused(tmp_path, few, write):
    (tmp_path / "synthetic.json").write_text(json.dumps({"layout": "ffhq", "seed": 99}))
    with pytest.raises(ValueError, match=r"holds other synthetic faces.*seed"):
        write(few, tmp_path)
    with pytest.raises(ValueError, match=r"val_fraction must be between 0 and 1, got 1\.5"):
        write(few, tmp_path / "new", val_fraction=1.5)
