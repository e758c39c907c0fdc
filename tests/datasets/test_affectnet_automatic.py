"""AffectNet's automatically annotated list."""

import pytest
from PIL import Image

from diffrig_emo.datasets import AffectNet

HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
POINTS = ";".join(f"{8 + i % 17}.5;{9 + i % 13}" for i in range(68))
ROW = f"10,10,20,20,{POINTS}"


@pytest.fixture(params=["Automatically_annotated_file_list", "Automatically_Annotated"])
def root(request, tmp_path):
    lists = {
        request.param: ("automatically_annotated.csv", [f"7/{n}.jpg,{ROW},{n % 8},0.5,-2" for n in range(20)]),
        "Manually_Annotated": ("validation.csv", [f"1/val.jpg,{ROW},6,0.5,-0.5"]),
    }
    for number in range(20):
        write_picture(tmp_path / f"Automatically_Annotated/Automatically_Annotated_Images/7/{number}.jpg")
    write_picture(tmp_path / "Manually_Annotated/Manually_Annotated_Images/1/val.jpg")
    for folder, (name, rows) in lists.items():
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text("\n".join([HEADER, *rows]) + "\n")
    return tmp_path


def write_picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (48, 40)).save(path)


def test_it_trains_on_the_automatic_list_and_validates_on_the_manual_one(root):
    train, val = (AffectNet(root, part, image_size=16, automatic=True) for part in ("train", "val"))
    assert (len(train), list(val.paths)) == (20, ["Manually_Annotated/Manually_Annotated_Images/1/val.jpg"])
    assert train.labels.tolist() == [n % 8 for n in range(20)]
    assert train[3]["va"].isnan().tolist() == [False, True]
    assert "unknown" in train.describe()
    assert "500" in val.describe()
    drawn = [AffectNet(root, part, automatic=True, val_fraction=0.3) for part in ("train", "val")]
    assert sorted(name for data in drawn for name in data.paths) == sorted(train.paths)


def test_without_that_list(root):
    with pytest.raises(ValueError, match="automatic: expected layout 'csv'"):
        AffectNet(root, layout="npy", automatic=True)
    for path in root.rglob("automatically_annotated.csv"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"expected automatically_annotated\.csv"):
        AffectNet(root, automatic=True)
