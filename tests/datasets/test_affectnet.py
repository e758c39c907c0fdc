"""AffectNet in all its layouts, whole and broken."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from diffrig_emo.datasets import StoreWriter, merge
from diffrig_emo.datasets.affectnet import AffectNet
from diffrig_emo.datasets.cutting import cut_aligned
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.synthesis.writers import write_affectnet_csv, write_affectnet_npy

SIZE = 32
HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
POINTS = ";".join(f"{8 + i % 17}.5;{9 + i % 13}" for i in range(68))


@pytest.fixture(scope="module")
def faces():
    return SyntheticFaces(num_faces=10, image_size=SIZE)


@pytest.fixture(scope="module")
def roots(faces, tmp_path_factory):
    """The same faces in every layout; the last two are for validation."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("csv", "npy", "folder")}
    write_affectnet_csv(faces, folders["csv"], val_fraction=0.2)
    write_affectnet_npy(faces, folders["npy"], val_fraction=0.2)
    truth = faces.truth()
    names = ["Neutral", "happiness", "2_sad", "3", "fear", "disgusted", "0_Anger", "contempt"]
    for number in range(10):
        folder = folders["folder"] / ("train" if number < 8 else "Val") / names[int(truth["label"][number])]
        folder.mkdir(parents=True, exist_ok=True)
        part = "train_set" if number < 8 else "val_set"
        (folder / f"{number}.JPG").write_bytes((folders["npy"] / part / f"images/{number}.jpg").read_bytes())
    return folders


def write_rows(root, rows, header=HEADER, name="training.csv"):
    """A small original release with the given rows; `a.jpg` to `d.JPG` exist."""
    folder = root / "Manually_Annotated/Manually_Annotated_Images/1"
    folder.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(("a.jpg", "b.jpg", "c.jpg", "d.JPG")):
        Image.new("RGB", (48, 40), (50 * i, 0, 0)).save(folder / picture, "jpeg")
    lists = root / "Manually_Annotated_file_lists"
    lists.mkdir(exist_ok=True)
    (lists / name).write_text("\n".join([*([header] if header else []), *rows]) + "\n")
    return root


@pytest.mark.parametrize("layout", ["csv", "npy", "folder"])
@pytest.mark.parametrize("part", ["train", "val"])
def test_every_layout_tells_the_truth(roots, faces, layout, part):
    data = AffectNet(roots[layout], part, crop="none", image_size=SIZE)
    assert (data.layout, len(data)) == (layout, 8 if part == "train" else 2)
    assert not data.dropped
    truth = faces.truth()
    numbers = range(8) if part == "train" else range(8, 10)
    # The names of the CSV's pictures are hashes, its order the faces' own; folders are in order of their names.
    order = [int(path.split("/")[-1][:-4]) for path in data.paths] if layout == "folder" else numbers
    assert sorted(order) == list(numbers)
    for item, number in zip(data, order, strict=True):
        assert (item["image"] - faces[number]["image"]).abs().mean() < 0.01  # JPEG
        assert item["label"] == truth["label"][number]
        if layout == "folder":
            assert item["va"].isnan().all()
            assert item["landmarks"].isnan().all()
        else:
            torch.testing.assert_close(item["va"], truth["va"][number], rtol=0, atol=1e-5)
            torch.testing.assert_close(item["landmarks"], truth["landmarks"][number], rtol=0, atol=0.006)


def test_the_crop_is_deca_s_square_around_the_landmarks(roots, faces):
    data = AffectNet(roots["csv"], image_size=64)
    assert data.crop == "landmarks"
    points = faces[0]["landmarks"]
    low, high = points.amin(0), points.amax(0)
    side = int(1.25 * 1.1 * float((high - low).mean()))
    wanted = (points - (low + high) / 2 + side / 2) * 63 / side
    torch.testing.assert_close(data[0]["landmarks"], wanted, rtol=0, atol=0.05)


def test_illegible_landmarks_leave_the_box(tmp_path):
    write_rows(tmp_path, ["1/a.jpg,10,10,20,20,nonsense,1,0.5,-0.5"])
    item = AffectNet(tmp_path, image_size=16, scale=1.0)[0]
    assert item["landmarks"].isnan().all()
    assert item["image"].shape == (3, 16, 16)
    assert item["va"].tolist() == [0.5, -0.5]


def test_classes_and_counts(roots, faces):
    labels = faces.truth()["label"][:8]
    assert AffectNet(roots["npy"]).class_counts == tuple(torch.bincount(labels, minlength=8).tolist())
    seven = AffectNet(roots["npy"], classes=7)
    assert len(seven.class_counts) == 7
    assert seven.dropped.get("contempt", 0) == int((labels == 7).sum())


def test_describe_shows_our_numbers_beside_the_published_ones(tmp_path):
    write_rows(tmp_path, [f"1/a.jpg,1,1,30,30,{POINTS},1,-2,-2", f"1/none.jpg,1,1,30,30,{POINTS},0,0,0"])
    folder = tmp_path / "Manually_Annotated/Manually_Annotated_Images/1"
    data = AffectNet(tmp_path)
    text = data.describe(decode=True)
    assert "layout csv, part train, 1 faces" in text
    assert any(line.split() == ["happy", "1", "134,415"] for line in text.splitlines())
    assert "left out, picture is missing: 1 (first: Manually_Annotated/Manually_Annotated_Images/1/none.jpg)" in text
    assert "with valence and arousal: 0" in text
    assert "unreadable: 0" in text
    (folder / "a.jpg").write_bytes(b"")
    text = data.describe(decode=True)
    assert "unreadable: 1" in text
    assert "a.jpg: expected a complete picture" in text


GOOD = f"10,10,20,20,{POINTS},1,0.5,-0.5"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"1/a.jpg,10,10,20,20,{POINTS},11,0,0", "label is not a number from 0 to 10"),
        (f"1/a.jpg,10,10,20,20,{POINTS},-1,0,0", "label is not a number from 0 to 10"),
        (f"1/a.jpg,10,10,20,20,{POINTS},1.5,0,0", "label is not a number from 0 to 10"),
        (f"1/a.jpg,10,10,20,20,{POINTS},inf,0,0", "label is not a number from 0 to 10"),
        (f"1/a.jpg,10,10,20,20,{POINTS},happy,0,0", "label is not a number from 0 to 10"),
        ("1/a.jpg,10", "label is not a number from 0 to 10"),
        (f"1/a.jpg,10,10,20,20,{POINTS},8,0,0", "no emotion (none, uncertain or no face)"),
        (f"1/a.jpg,10,10,20,20,{POINTS},10,-2,-2", "no emotion (none, uncertain or no face)"),
        (f"1/a.jpg,10,10,20,20,{POINTS},1,3.5,0", "valence or arousal is not a number from -1 to 1"),
        (f"1/a.jpg,10,10,20,20,{POINTS},1,0,x", "valence or arousal is not a number from -1 to 1"),
        (f"1/none.jpg,{GOOD}", "picture is missing"),
        (f"../../../etc/a.jpg,{GOOD}", "picture is missing"),
        (f",{GOOD}", "picture is missing"),
        ("1/a.jpg,10,10,-20,20,1;2;3,1,0,0", "landmarks and box are illegible"),
        ("1/a.jpg,-10,10,20,20,,1,0,0", "landmarks and box are illegible"),
        (f"1/a.jpg,x,,20,20,{POINTS.replace('9', 'nine', 1)},1,0,0", "landmarks and box are illegible"),
        (f"1/a.jpg,0,0,0,0,{';'.join(['5'] * 136)},1,0,0", "landmarks and box are illegible"),
        (f"1/a.jpg,0,0,0,0,{POINTS.replace('8.5', 'inf')},1,0,0", "landmarks and box are illegible"),
    ],
)
def test_unusable_rows_are_left_out_and_counted(row, reason, tmp_path):
    write_rows(tmp_path, [row, f"1/b.jpg,{GOOD}"])
    data = AffectNet(tmp_path, image_size=16)
    assert data.dropped == {reason: 1}
    assert [path[-5:] for path in data.paths] == ["b.jpg"]
    assert data[0]["image"].shape == (3, 16, 16)


def test_a_negative_box_counts_only_where_it_is_used(tmp_path):
    write_rows(tmp_path, [f"1/a.jpg,10,10,-20,20,{POINTS},1,0,0", f"1/b.jpg,{GOOD}"])
    assert len(AffectNet(tmp_path)) == 2
    assert AffectNet(tmp_path, crop="box").dropped == {"box is empty or negative": 1}


@pytest.mark.parametrize(
    ("written", "found"), [("1\\b.jpg", "1/b.jpg"), ("1/D.jpg", "1/d.JPG"), ("./1/a.jpg", "1/a.jpg")]
)
def test_separators_and_cases_of_paths(written, found, tmp_path):
    data = AffectNet(write_rows(tmp_path, [f"{written},{GOOD}"]))
    assert data.paths[0] == f"Manually_Annotated/Manually_Annotated_Images/{found}"
    assert data[0]["path"] == data.paths[0]


def test_missing_valence_and_arousal_is_nan_or_left_out(tmp_path):
    rows = [f"1/{n}.jpg,10,10,20,20,{POINTS},1,{va}" for n, va in (("a", "-2,-2"), ("b", ","), ("c", "0.25,-2"))]
    data = AffectNet(write_rows(tmp_path, [*rows, f"1/d.jpg,{GOOD}"]))
    assert torch.stack([item["va"] for item in data]).isnan().tolist() == [[1, 1], [1, 1], [0, 1], [0, 0]]
    with_va = AffectNet(tmp_path, require_va=True)
    assert len(with_va) == 1
    assert with_va.dropped == {"no valence and arousal": 3}


def test_lists_that_tools_rewrote(tmp_path):
    # An index column, commas between the landmarks, a byte order mark; or no header at all.
    commas = POINTS.replace(";", ",")
    write_rows(tmp_path, [f'0,1/a.jpg,10,10,20,20,"{commas}",1,0,0'], header="\ufeff," + HEADER)
    assert AffectNet(tmp_path, crop="none")[0]["landmarks"].isfinite().all()
    write_rows(tmp_path, [f"1/a.jpg,{GOOD}", f"1/b.jpg,{GOOD}"], header="")
    assert len(AffectNet(tmp_path)) == 2


@pytest.mark.parametrize("column", HEADER.split(","))
def test_a_missing_column_is_named(column, tmp_path):
    write_rows(tmp_path, [f"1/a.jpg,{GOOD}"], header=HEADER.replace(column, "other"))
    with pytest.raises(ValueError, match=rf"training.csv: expected the column {column}, got the columns"):
        AffectNet(tmp_path)


@pytest.mark.parametrize("lists", ["Manually_Annotated", "Manually_Annotated/Manually_Annotated_file_lists", "."])
def test_lists_are_found_where_copies_have_them(lists, tmp_path):
    write_rows(tmp_path, [f"1/a.jpg,{GOOD}"])
    (tmp_path / lists).mkdir(exist_ok=True)
    (tmp_path / "Manually_Annotated_file_lists/training.csv").rename(tmp_path / lists / "Training.csv")
    assert len(AffectNet(tmp_path)) == 1


def test_broken_annotations_are_left_out_and_counted(tmp_path):
    (tmp_path / "train_set/images").mkdir(parents=True)
    notes = tmp_path / "train_set/annotations"
    notes.mkdir()
    for number in range(7):
        Image.new("RGB", (8, 8)).save(tmp_path / f"train_set/images/{number}.PNG")
        np.save(notes / f"{number}_exp.npy", np.array("3"))
        np.save(notes / f"{number}_val.npy", np.array("-0.42"))
        np.save(notes / f"{number}_aro.npy", np.array(0.5))
        np.save(notes / f"{number}_lnd.npy", np.random.default_rng(0).uniform(0, 8, (68, 2)))
    (notes / "0_exp.npy").write_bytes(b"")
    np.save(notes / "1_exp.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (notes / "2_exp.npy").unlink()
    (tmp_path / "train_set/images/3.PNG").unlink()
    np.save(notes / "4_lnd.npy", np.zeros(7))
    (notes / "5_val.npy").unlink()
    data = AffectNet(tmp_path, image_size=8)
    assert data.dropped == {"label is not a number from 0 to 10": 3, "picture is missing": 1}
    assert [path[-5:] for path in data.paths] == ["4.PNG", "5.PNG", "6.PNG"]
    assert data[0]["landmarks"].isnan().all()
    assert data[1]["va"].isnan().tolist() == [True, False]
    torch.testing.assert_close(data[2]["va"], torch.tensor([-0.42, 0.5]))


def test_folders_without_an_emotion_are_counted(roots, tmp_path):
    for folder in ("happy", "misc"):
        (tmp_path / "train" / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "train" / folder / "a.png")
    assert AffectNet(tmp_path).dropped == {"label is not a number from 0 to 10": 1}


def test_copies_without_a_split_are_split_by_name(roots, tmp_path):
    source = roots["npy"] / "train_set"
    with pytest.raises(ValueError, match="give val_fraction"):
        AffectNet(source)
    parts = [set(AffectNet(source, part, val_fraction=0.4).paths) for part in ("train", "val")]
    assert not parts[0] & parts[1]
    assert len(parts[0] | parts[1]) == 8


def test_codes_come_from_the_store(roots, codes, tmp_path):
    with (roots["csv"] / "Manually_Annotated_file_lists/training.csv").open() as file:
        path = list(csv.DictReader(file))[4]["subDirectory_filePath"]
    tform = torch.tensor([[2.0, 0, -0.5], [0, 2, -0.5], [0, 0, 1]])
    with StoreWriter(tmp_path / "s.h5", {"encoder": "none", "image_size": 16}) as writer:
        writer.add(path, codes=codes(0), photo_to_aligned=tform)
        writer.add(f"{path}#1", codes=codes(1), path=path, photo_to_aligned=tform)
    merge(tmp_path / "s.h5")
    data = AffectNet(roots["csv"], image_size=16, store=tmp_path / "s.h5")
    whole = AffectNet(roots["csv"], image_size=SIZE, crop="none")
    assert (len(data), data.uncoded) == (1, 7)
    assert torch.equal(data[0]["codes"].exp, codes(0).exp)
    # Cut out as the store says: pixel 2x - 0.5.
    torch.testing.assert_close(data[0]["landmarks"], 2 * whole[4]["landmarks"] - 0.5)
    torch.testing.assert_close(data[0]["image"][:, 1, 1], _bilinear(whole[4]["image"], 0.75), atol=0.01, rtol=0)
    assert torch.equal(data[0]["image"], cut_aligned(whole[4]["image"], tform, 16))
    assert f"left out, no codes in {tmp_path / 's.h5'}: 7" in data.describe()


def _bilinear(image, at):
    """Colour at (at, at), both between 0 and 1."""
    a, b = 1 - at, at
    return a * a * image[:, 0, 0] + a * b * (image[:, 0, 1] + image[:, 1, 0]) + b * b * image[:, 1, 1]


def test_bad_roots_and_options_are_named(roots, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found none of: training.csv.*annotations/\*_exp.npy.*folders named"):
        AffectNet(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        AffectNet(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"training\.csv"):
        AffectNet(roots["npy"], layout="csv")
    for name, value in {
        "part": "test",
        "layout": "x",
        "classes": 6,
        "crop": "x",
        "scale": 0,
        "val_fraction": 1,
    }.items():
        with pytest.raises(ValueError, match=f"{name}: expected"):
            AffectNet(roots["npy"], **{name: value})
    with pytest.raises(ValueError, match="crop: expected one of"):
        AffectNet(roots["npy"], crop="box")
    write_rows(tmp_path, [f"1/a.jpg,10,10,20,20,{POINTS},9,0,0"])
    for part in ("train", "val"):
        with pytest.raises(ValueError, match=f"no face of part='{part}' can be used"):
            AffectNet(tmp_path, part)
