import io
import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from diffrig_emo.datasets import CodeStore, StoreWriter, merge
from diffrig_emo.datasets.store_format import About, StoreFile, create_store, empty_rows, row_type
from diffrig_emo.structures import FaceCodes, face_collate

FIELDS = ("shape", "tex", "exp", "pose", "cam", "light", "tform")


@pytest.fixture
def store(tmp_path, codes, grey_png) -> CodeStore:
    """Six faces with everything that can be known about them."""
    with StoreWriter(tmp_path / "faces.h5", {"encoder": "random"}, flush_every=4) as writer:
        for number in range(6):
            writer.add(
                f"{number}.jpg",
                codes=codes(number),
                image=grey_png(number),
                source="album",
                label=number,
                va=(number / 10, -1.0),
                landmarks=torch.full((68, 2), float(number)),
                photo_to_aligned=torch.eye(3) * number,
                quality={"score": number / 4},
                notes={"person": "anna", "path": f"photos/{number}.jpg"},
            )
    merge(tmp_path / "faces.h5")
    return CodeStore(tmp_path / "faces.h5")


def test_everything_comes_back(store, codes):
    assert len(store) == 6
    assert store.space == "small"
    assert store.provenance[0]["encoder"] == "random"
    assert store.provenance[0]["diffrig_emo"]
    for number in range(6):
        item = store[number]
        for field in FIELDS:
            assert torch.equal(getattr(item["codes"], field), getattr(codes(number), field)), field
        assert item["codes"].detail is None
        assert item["image"].shape == (3, 8, 8)
        assert (item["image"][:, 0, 0] * 255).round().tolist() == [3, 2, 1]  # OpenCV wrote BGR
        assert item["label"] == number
        assert item["va"].tolist() == pytest.approx([number / 10, -1])
        assert item["landmarks"].unique() == number
        assert (item["path"], item["source"], int(item["index"])) == (f"photos/{number}.jpg", "album", number)
    assert store.column("quality_score").tolist() == [0, 0.25, 0.5, 0.75, 1, 1.25]
    assert store.column("photo_to_aligned")[2].tolist() == (2 * np.eye(3)).tolist()
    assert [note["person"] for note in store.notes()] == ["anna"] * 6
    assert store.coded.all()
    with pytest.raises(ValueError, match="no column 'score'; there are shape, tex"):
        store.column("score")


def test_other_programs_can_read_it(store, codes):
    with h5py.File(store.path) as file:
        rows = file["faces"][:]
        assert file.attrs["space"] == "small"
        np.testing.assert_array_equal(rows["exp"][3], codes(3).exp[0])
        start, size = int(rows["image_start"][3]), int(rows["image_size"][3])
        image = Image.open(io.BytesIO(file["images"][start : start + size].tobytes()))
        assert image.getpixel((4, 4)) == (3, 3, 3)
        start, size = int(rows["note_start"][3]), int(rows["note_size"][3])
        assert json.loads(file["notes"][start : start + size].tobytes())["key"] == "3.jpg"


def test_codes_in_bulk(store, codes):
    everything = store.codes()
    assert everything.batch_size == 6
    picked = store.codes([4, -1, 4, 0])
    for row, number in enumerate((4, 5, 4, 0)):
        assert torch.equal(picked[row].light, codes(number).light)
        assert torch.equal(everything[number].light, codes(number).light)
    assert torch.equal(store.codes(torch.tensor([1])).tform, codes(1).tform)
    with pytest.raises(IndexError, match=r"face 6 of .*faces.h5, which has 6"):
        store.codes([6])
    with pytest.raises(ValueError, match="at least one"):
        store.codes([])
    with pytest.raises(IndexError):
        store[-7]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_from_workers(store, workers):
    store[0]  # the parent's open file must not trouble its children
    loader = DataLoader(store, batch_size=4, num_workers=workers, collate_fn=face_collate, shuffle=True)
    batches = list(loader)
    assert sorted(int(i) for batch in batches for i in batch["index"]) == list(range(6))
    for batch in batches:
        assert torch.equal(batch["codes"].exp, store.codes(batch["index"]).exp)
        assert torch.equal(batch["label"], batch["index"])


def test_a_copy_in_another_process_opens_the_file_itself(store):
    store[0]
    again = pickle.loads(pickle.dumps(store))
    assert torch.equal(again[5]["codes"].shape, store[5]["codes"].shape)
    Path(store.path).write_bytes(b"another file")
    copy = pickle.loads(pickle.dumps(store))
    with pytest.raises(ValueError, match="replaced since it was opened; open it again"):
        copy[0]


def test_a_store_that_is_open_survives_its_replacement(store, codes):
    with StoreWriter(store.path, {"encoder": "random"}) as writer:
        writer.add("0000.jpg", codes=codes(9))
    before = store[2]
    assert merge(store.path) == 7
    assert torch.equal(store[2]["codes"].shape, before["codes"].shape)
    assert len(CodeStore(store.path)) == 7


def test_a_face_costs_little_more_than_its_codes(tmp_path):
    codes = FaceCodes.zeros(1, n_shape=100, n_tex=50, n_exp=50, space="flame2020").replace(tform=torch.eye(3)[None])
    with StoreWriter(tmp_path / "faces.h5", {"encoder": "DECA", "checksum": "0" * 64}) as writer:
        for number in range(200):
            path = f"images1024x1024/{number:05d}/{number:05d}.png"
            quality = {"score": 0.9, "yaw": 0.1, "reprojection": 2.0}
            writer.add(path, codes=codes, source="ffhq", photo_to_aligned=torch.eye(3), quality=quality)
    merge(tmp_path / "faces.h5")
    assert (tmp_path / "faces.h5").stat().st_size / 200 < 1280


def test_memory_stays_flat_over_a_long_index(tmp_path):
    """The rows hold 60 MB; reading thousands of them at random, or all in blocks, keeps none of them."""
    dtype = row_type({"shape": (100,), "tex": (2,), "exp": (2,), "pose": (6,), "cam": (3,), "light": (9, 3)})
    count, note = 100_000, b'{"key":"a"}'
    sizes = {"notes": len(note), "images": 0, "skipped": 0}
    layout = create_store(tmp_path / "faces.h5", dtype, count, sizes, About("small"))
    rows = empty_rows(1000, dtype)
    rows["note_size"] = len(note)
    for name in ("shape", "tex", "exp", "pose", "cam", "light"):
        rows[name] = 0.5
    with StoreFile(tmp_path / "faces.h5", layout, writable=True) as file:
        file.write_section("notes", 0, note)
        for start in range(0, count, 1000):
            file.write_rows(start, rows)
    del rows
    assert (tmp_path / "faces.h5").stat().st_size > 60_000_000
    store = CodeStore(tmp_path / "faces.h5")
    numbers = torch.randperm(count)[:2000].tolist()
    for number in numbers[:200]:
        store[number]
    before = _resident()
    for number in numbers:
        assert store[number]["codes"].cam[0, 0] == 0.5
    assert store.column("label").shape == (count,)
    assert store.coded.all()
    assert _resident() - before < 10_000_000


def _resident() -> int:
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_faces_without_codes(tmp_path, codes, grey_png):
    path = tmp_path / "faces.h5"
    with StoreWriter(path, {"imported_from": "cache"}) as writer:
        for number in range(3):
            writer.add(str(number), image=grey_png(number), label=number)
    merge(path)
    store = CodeStore(path)
    assert store.space == ""
    assert sorted(store[1]) == ["image", "index", "label", "path", "source", "va"]
    with pytest.raises(ValueError, match=r"3 of 3 faces have no codes yet, the first is number 0; add them"):
        store.codes()
    with StoreWriter(path, {"encoder": "random"}) as writer:
        assert "1" in writer
        assert not writer.has_codes("1")
        writer.add("1", codes=codes(1), quality={"score": 0.5})
        with pytest.raises(ValueError, match="'1' is already stored"):
            writer.add("1", codes=codes(1))
    assert merge(path) == 3
    store = CodeStore(path)
    assert store.coded.tolist() == [False, True, False]
    assert torch.equal(store.codes([1]).exp, codes(1).exp)
    assert store[1]["label"] == 1
    assert store.image_bytes(1) == grey_png(1)
    assert store.column("quality_score")[1] == 0.5
    assert [record.get("encoder") for record in store.provenance] == [None, "random"]
    with pytest.raises(ValueError, match="2 of 3 faces have no codes yet, the first is number 2"):
        store.codes([1, 2, 0])
    with pytest.raises(ValueError, match="1 of 1 faces have no codes yet, the first is number 2"):
        store[2]


def test_pictures_that_stay_where_they_are(tmp_path, codes):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    Image.fromarray(pixels).save(tmp_path / "photos" / "a.png")
    shift = torch.tensor([[1.0, 0, -5], [0, 1, -3], [0, 0, 1]])
    with StoreWriter(tmp_path / "faces.h5", {}) as writer:
        writer.add("a.png", codes=codes(0))
        writer.add("a.png#1", path="a.png", codes=codes(0), photo_to_aligned=shift)
    merge(tmp_path / "faces.h5")
    assert "image" not in CodeStore(tmp_path / "faces.h5")[0]
    store = CodeStore(tmp_path / "faces.h5", image_root=tmp_path / "photos", image_size=8)
    assert torch.equal((store[0]["image"] * 255).round().byte(), torch.from_numpy(pixels).permute(2, 0, 1))
    cut = (store[1]["image"] * 255).round().byte()
    assert torch.equal(cut, torch.from_numpy(pixels[3:11, 5:13]).permute(2, 0, 1))


def test_a_damaged_picture_is_named(store):
    data = bytearray(store.path.read_bytes())
    place = data.find(store.image_bytes(3))
    data[place + 30] ^= 1
    store.path.write_bytes(data)
    with pytest.raises(ValueError, match="the picture of face 3 is damaged"):
        CodeStore(store.path)[3]


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.999])
def test_truncated_stores_are_refused(store, keep):
    data = store.path.read_bytes()
    store.path.write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match=r"faces.h5 \(.* bytes\): expected a complete code store"):
        CodeStore(store.path)


def test_a_store_that_loses_its_end_while_open_is_named(store):
    size = store.path.stat().st_size
    store[0]
    with store.path.open("r+b") as file:
        file.truncate(size // 8)
    with pytest.raises(ValueError, match=r"expected a complete code store, got .* bytes missing"):
        store[5]


def test_other_files_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["faces"] = np.zeros(3)
    with pytest.raises(ValueError, match="expected a diffrig_emo code store of version 1, got an HDF5 file"):
        CodeStore(tmp_path / "other.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(ValueError, match="expected a complete code store, got"):
        CodeStore(tmp_path / "text.h5")
    with pytest.raises(FileNotFoundError, match=r"no such code store; .*prepare"):
        CodeStore(tmp_path / "nothing.h5")
    with pytest.raises(FileNotFoundError, match="no such code store"):
        CodeStore(tmp_path)


def test_a_store_of_a_later_version_is_refused(store):
    with h5py.File(store.path, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(ValueError, match=r"version 1, got .* version 2; .*the library that wrote it"):
        CodeStore(store.path)


def test_an_unfinished_store_is_explained(tmp_path, codes):
    with StoreWriter(tmp_path / "faces.h5", {}) as writer:
        writer.add("a", codes=codes(0))
    with pytest.raises(FileNotFoundError, match=r"only parts of it in .*Run the command that was interrupted again"):
        CodeStore(tmp_path / "faces.h5")
