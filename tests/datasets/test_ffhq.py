"""FFHQ in all its layouts, whole and broken."""

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from diffrig_emo.datasets import StoreWriter, merge
from diffrig_emo.datasets.ffhq import FFHQ
from diffrig_emo.structures import face_collate
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.synthesis.writers import write_ffhq

SIZE = 32


@pytest.fixture(scope="module")
def faces():
    return SyntheticFaces(num_faces=7, image_size=SIZE)


@pytest.fixture(scope="module")
def root(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ffhq")
    write_ffhq(faces, folder)
    return folder


def picture(value=0, size=(SIZE, SIZE), kind="png"):
    data = io.BytesIO()
    Image.new("RGB", size, (value, 2 * value, 3 * value)).save(data, kind)
    return data.getvalue()


def test_the_official_layout_gives_pictures_landmarks_and_rights(root, faces):
    data = FFHQ(root, image_size=SIZE)
    assert (data.layout, len(data)) == (f"images{SIZE}x{SIZE}", 7)
    item, truth = data[3], faces[3]
    torch.testing.assert_close(item["image"], truth["image"], rtol=0, atol=1e-6)
    torch.testing.assert_close(item["landmarks"], truth["landmarks"], rtol=0, atol=2e-3)
    assert item["license"] == "Public Domain"
    assert item["author"] == "diffrig_emo SyntheticFaces"
    assert item["photo_url"] == truth["path"]
    assert item["label"] == -1
    assert item["va"].isnan().all()
    assert "codes" not in item


def test_pictures_shrink_with_their_landmarks(root, faces):
    item = FFHQ(root, image_size=SIZE // 2)[3]
    assert item["image"].shape == (3, SIZE // 2, SIZE // 2)
    wanted = (faces[3]["landmarks"] + 0.5) / 2 - 0.5
    torch.testing.assert_close(item["landmarks"], wanted, rtol=0, atol=2e-3)


def test_the_category_tells_the_parts_apart(root):
    assert FFHQ(root, "train").numbers.tolist() == [0, 1, 2, 3, 4, 5]
    assert FFHQ(root, "val").numbers.tolist() == [6]
    assert len(FFHQ(root, "train", "all")) == len(FFHQ(root, "val", "all")) == 7


def test_the_splits_by_number(tmp_path):
    for number in (0, 9999, 10000, 59999, 60000, 69999):
        (tmp_path / f"{number:05d}.PNG").write_bytes(picture())
    assert FFHQ(tmp_path, "train").numbers.tolist() == [0, 9999, 10000, 59999]
    assert FFHQ(tmp_path, "val").numbers.tolist() == [60000, 69999]
    assert FFHQ(tmp_path, "val", "diffae").numbers.tolist() == [0, 9999]
    assert FFHQ(tmp_path, "train", "diffae").numbers.tolist() == [10000, 59999, 60000, 69999]


@pytest.mark.parametrize("layout", ["flat", "nested", "zip", "lmdb", "thumbnails128x128", "realign1024x1024"])
def test_every_layout_shows_the_same_pictures(layout, tmp_path):
    root = tmp_path / "ffhq"
    pictures = [picture(10 * number) for number in range(4)]
    names = {
        "flat": "{:05d}.png",
        "nested": "00000/{:05d}.png",
        "thumbnails128x128": "thumbnails128x128/00000/{:05d}.png",
        "realign1024x1024": "realign1024x1024/00000/{:05d}.png",
    }
    if layout == "zip":
        root = tmp_path / "ffhq.zip"
        with zipfile.ZipFile(root, "w") as file:
            file.writestr("dataset.json", '{"labels": null}')
            for number, data in enumerate(pictures):
                file.writestr(f"00000/img{number:08d}.png", data)
    elif layout == "lmdb":
        lmdb = pytest.importorskip("lmdb")
        root.mkdir()
        with lmdb.open(str(root), map_size=2**20) as environment, environment.begin(write=True) as transaction:
            transaction.put(b"length", b"4")
            for number, data in enumerate(pictures):
                transaction.put(f"256-{number:05d}".encode(), data)
    else:
        for number, data in enumerate(pictures):
            path = root / names[layout].format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    data = FFHQ(root, image_size=SIZE)
    assert data.numbers.tolist() == [0, 1, 2, 3]
    for reader in (data, pickle.loads(pickle.dumps(data))):
        for number in range(4):
            assert (reader[number]["image"][:, 0, 0] * 255).round().tolist() == [10 * number, 20 * number, 30 * number]
    loader = DataLoader(data, batch_size=4, num_workers=2, collate_fn=face_collate, multiprocessing_context="fork")
    (batch,) = loader
    assert (batch["image"][:, 0, 0, 0] * 255).round().tolist() == [0, 10, 20, 30]
    assert batch["landmarks"].isnan().all()


def test_photos_in_the_wild_are_cut_at_their_quad(tmp_path):
    # A photo whose colours are its coordinates: what is cut out says where it was.
    rows, columns = np.mgrid[0:100, 0:120].astype(np.uint8)
    (tmp_path / "in-the-wild-images/00000").mkdir(parents=True)
    photo = np.stack([columns, rows, np.zeros_like(rows)], axis=-1)
    Image.fromarray(photo).save(tmp_path / "in-the-wild-images/00000/00000.png")
    centre, x = np.array([60.0, 50.0]), np.array([16.0, 12.0])  # a square turned by 37 degrees, sides of 40
    y = np.array([-x[1], x[0]])
    quad = [centre - x - y, centre - x + y, centre + x + y, centre + x - y]
    landmarks = [[60, 50]] * 67 + [[60 + 4, 50 + 3]]
    wild = {"face_quad": np.array(quad).tolist(), "face_landmarks": landmarks}
    (tmp_path / "ffhq-dataset-v2.json").write_text(json.dumps({"0": {"category": "training", "in_the_wild": wild}}))
    item = FFHQ(tmp_path, image_size=20)[0]
    # Closed form: 2 photo pixels per pixel along x / |x| and y / |y|.
    i = (torch.arange(20) + 0.5) / 20 * 2 - 1
    wanted = 60 + 16 * i[None, :] - 12 * i[:, None]
    assert (item["image"][0] * 255 - wanted).abs().max() < 1.5
    wanted = 50 + 12 * i[None, :] + 16 * i[:, None]
    assert (item["image"][1] * 255 - wanted).abs().max() < 1.5
    torch.testing.assert_close(
        item["landmarks"][67] - item["landmarks"][0], torch.tensor([2.5, 0.0]), rtol=0, atol=1e-4
    )


def test_codes_come_from_the_store_by_path(root, codes, tmp_path):
    names = [f"00000/{number:05d}.png" for number in (5, 2)]  # prepared from within images32x32, not all, not in order
    with StoreWriter(tmp_path / "s.h5", {"encoder": "none"}) as writer:
        for seed, name in enumerate(names):
            writer.add(name, codes=codes(seed))
        writer.add("00000/00001.png")  # not coded yet
    merge(tmp_path / "s.h5")
    data = FFHQ(root, image_size=SIZE, store=tmp_path / "s.h5")
    assert data.numbers.tolist() == [2, 5]
    assert data.uncoded == 5
    assert torch.equal(data[0]["codes"].exp, codes(1).exp)
    assert torch.equal(data[1]["codes"].exp, codes(0).exp)
    assert data[1]["license"] == "Public Domain"
    assert "left out, for want of codes: 5" in data.describe()


def test_another_store_or_size_is_refused(root, codes, tmp_path):
    for name, key, about in (("other", "anna/1.jpg", {}), ("size", "00000/00000.png", {"image_size": 64})):
        with StoreWriter(tmp_path / f"{name}.h5", {"encoder": "none", **about}) as writer:
            writer.add(key, codes=codes(0))
        merge(tmp_path / f"{name}.h5")
    with pytest.raises(ValueError, match="codes of none of the 7 faces"):
        FFHQ(root, image_size=SIZE, store=tmp_path / "other.h5")
    with pytest.raises(ValueError, match="prepared for 64 pixels"):
        FFHQ(root, image_size=SIZE, store=tmp_path / "size.h5")


def test_damaged_records_count_and_leave_the_picture(root, tmp_path, faces):
    write_ffhq(faces, tmp_path, codes=False)
    path = tmp_path / "ffhq-dataset-v2.json"
    records = json.loads(path.read_text())
    for number, landmarks in enumerate(([[1, 2]] * 67, "nonsense", [[1, float("nan")]] * 68, {"0": 1})):
        records[str(number)]["image"]["face_landmarks"] = landmarks
    records["4"]["image"] = None
    records["5"]["metadata"] = {"license": None}
    del records["6"]
    path.write_text(json.dumps(records))
    data = FFHQ(tmp_path, image_size=SIZE)
    assert data.damaged_records == 4
    assert all(data[number]["landmarks"].isnan().all() for number in (0, 1, 2, 3, 4, 6))
    assert data[5]["landmarks"].isfinite().all()
    assert data[5]["license"] == data[6]["license"] == ""
    assert "4 records are damaged" in data.describe()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"0": {}', '{"a": {}}', '{"0": 1}', "{}", '{"0" {}}', '{"0": {} "1": {}}']
)
def test_a_file_that_is_no_records_is_named(text, tmp_path):
    (tmp_path / "00000.png").write_bytes(picture())
    (tmp_path / "ffhq-dataset-v2.json").write_text(text)
    with pytest.raises(ValueError, match=r"ffhq-dataset-v2.json: expected"):
        FFHQ(tmp_path)


def test_bad_roots_and_options_are_named(root, tmp_path):
    with pytest.raises(FileNotFoundError, match="no picture at all"):
        FFHQ(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected FFHQ"):
        FFHQ(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="folder"):
        FFHQ(root, folder="images7x7")
    (tmp_path / "broken.zip").write_bytes(b"PK but no zip")
    with pytest.raises(ValueError, match="complete zip file"):
        FFHQ(tmp_path / "broken.zip")
    with pytest.raises(ValueError, match="split"):
        FFHQ(root, split="both")
    with pytest.raises(ValueError, match="part"):
        FFHQ(root, "test")
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "00000.png").write_bytes(picture()[:50])
    with pytest.raises(ValueError, match=r"no face in part='val'.*split='all'"):
        FFHQ(tmp_path / "flat", "val")
    with pytest.warns(UserWarning, match="00000.png"), pytest.raises(ValueError, match=r"no usable picture.*00000.png"):
        FFHQ(tmp_path / "flat")[0]
