"""What all data sets of picture files do with files that are broken, huge, or cut at the border."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from diffrig_emo.datasets import FFHQ, AffectNet, Album
from diffrig_emo.io import images
from diffrig_emo.io.images import read_image
from diffrig_emo.structures import face_collate
from diffrig_emo.transforms.alignment import align_ffhq, ffhq_quad


@pytest.fixture
def album(tmp_path):
    for number in range(6):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(tmp_path / f"{number}.png")
    for number in (1, 2, 5):
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG")
    return Album(tmp_path, image_size=8)


def test_the_next_readable_picture_takes_the_place_of_an_unreadable_one(album, recwarn):
    found = [album[i]["path"] for i in range(6)] + [album[5]["path"]]
    assert found == ["0.png", "3.png", "3.png", "3.png", "4.png", "0.png", "0.png"]
    assert (int(album[1]["index"]), float(album[1]["image"][0].mean() * 255)) == (3, pytest.approx(120))
    told = [str(warning.message) for warning in recwarn]
    assert len(told) == 3, "each file is named once"
    for text, name in zip(told, ("1.png", "2.png", "5.png"), strict=True):
        assert f"{name}: expected a complete picture" in text


@pytest.mark.filterwarnings("ignore:.*takes its place")
def test_workers_agree_on_the_replacement(album):
    loader = DataLoader(album, 6, collate_fn=face_collate, num_workers=1, multiprocessing_context="fork")
    assert next(iter(loader))["index"].tolist() == [0, 3, 3, 3, 4, 0]


@pytest.mark.filterwarnings("ignore:.*takes its place")
def test_what_is_wrong_with_everything_is_an_error(album, tmp_path):
    assert [text.partition(":")[0].rpartition("/")[2] for text in album.unreadable()] == ["1.png", "2.png", "5.png"]
    assert "unreadable: 3" in album.describe(decode=True)
    for number in (0, 3, 4):
        (tmp_path / f"{number}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no usable picture from face 4 on; .*4.png: expected a complete picture"):
        album[4]
    (tmp_path / "0.png").unlink()
    with pytest.raises(FileNotFoundError):
        album[0]


def face(centre, size):
    points = torch.zeros(68, 2)
    points[:17] = torch.stack([torch.linspace(-1, 1, 17), torch.ones(17)], 1)
    points[36:42], points[42:48] = torch.tensor([[-0.45, -0.3], [0.45, -0.2]])
    points[48], points[54] = torch.tensor([[-0.3, 0.6], [0.3, 0.7]])
    return points * size + torch.tensor(centre)


def write_wild(root, points, photo, quad=None):
    (root / "in-the-wild-images/00000").mkdir(parents=True)
    records = {}
    for number, (landmarks, square) in enumerate(zip(points, quad or [None] * len(points), strict=True)):
        Image.fromarray(photo).save(root / f"in-the-wild-images/00000/{number:05d}.png")
        square = ffhq_quad(landmarks).tolist() if square is None else square
        records[str(number)] = {"in_the_wild": {"face_landmarks": landmarks.tolist(), "face_quad": square}}
    (root / "ffhq-dataset-v2.json").write_text(json.dumps(records))


def smooth(height, width):
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([50 + columns % 200, 50 + rows % 200, np.full_like(rows, 90)], -1).astype(np.uint8)


def test_photos_in_the_wild_have_ffhqs_borders(tmp_path):
    points = [face((20.0, 50.0), 20.0), face((60.0, 50.0), 12.0), face((60.0, 50.0), 12.0)]
    write_wild(tmp_path, points, smooth(100, 120), [None, None, [[1, 1]] * 3])
    data = FFHQ(tmp_path, image_size=32)
    assert (len(data), data.unplaced, data.damaged_records) == (2, 1, 1)
    assert "left out, no record of where the face lies: 1" in data.describe()
    photo = read_image(tmp_path / "in-the-wild-images/00000/00000.png")
    for item, landmarks in zip(data, points, strict=False):
        tform, wanted = align_ffhq(photo, landmarks, 32, 128)
        assert ((item["image"] - wanted) * 255).abs().max().round() <= 1
        moved = landmarks @ tform[:2, :2].T + tform[:2, 2]
        torch.testing.assert_close(item["landmarks"], moved, atol=1e-3, rtol=0)
    assert data[0]["image"].min() > 0.1, "no black where the square leaves the photo"


def test_huge_photos_are_cut_where_their_files_say(tmp_path, monkeypatch):
    write_wild(tmp_path / "ffhq", [face((150.0, 100.0), 50.0)], smooth(240, 300))
    folder = tmp_path / "affectnet/Manually_Annotated_Images/1"
    folder.mkdir(parents=True)
    Image.fromarray(smooth(240, 300)).save(folder / "a.png")
    numbers = ";".join(str(float(x)) for x in face((150.0, 100.0), 50.0).flatten())
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    (tmp_path / "affectnet/training.csv").write_text(f"{header}\n1/a.png,90,40,110,110,{numbers},1,0.5,0.5\n")
    readers = (
        lambda: FFHQ(tmp_path / "ffhq", image_size=32),
        lambda: AffectNet(tmp_path / "affectnet", image_size=32),
        lambda: AffectNet(tmp_path / "affectnet", image_size=32, crop="box"),
    )
    whole = [read()[0] for read in readers]
    monkeypatch.setattr(images, "MAX_PIXELS", 240 * 300 // 4)
    assert read_image(folder / "a.png").shape == (3, 120, 150)
    for read, before in zip(readers, whole, strict=True):
        item = read()[0]
        assert (item["image"] - before["image"]).abs().mean() < 0.03
        torch.testing.assert_close(item["landmarks"], before["landmarks"], atol=0.5, rtol=0)
