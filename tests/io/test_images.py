from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.io import imread

from diffrig_emo.io.images import read_image, write_image


def test_all_levels_survive(tmp_path):
    levels = torch.arange(256).reshape(1, 16, 16).repeat(3, 1, 1) / 255
    write_image(tmp_path / "a.png", levels)
    assert torch.equal(read_image(tmp_path / "a.png"), levels)
    assert np.array_equal(imread(tmp_path / "a.png")[:, :, 0], np.arange(256).reshape(16, 16))


def test_channels_and_rows_are_in_order(tmp_path):
    image = torch.zeros(3, 2, 3)
    image[0, 0, 2] = 1  # red, first row, last column
    write_image(tmp_path / "a.png", image)
    assert imread(tmp_path / "a.png")[0, 2].tolist() == [255, 0, 0]


def test_values_outside_are_clamped(tmp_path):
    write_image(tmp_path / "a.png", torch.tensor([-1.0, 2.0]).reshape(1, 1, 2).repeat(3, 1, 1))
    assert read_image(tmp_path / "a.png")[0].tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "1", "CMYK"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    Image.new(mode, (4, 3)).save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    (path,) = tmp_path.iterdir()
    assert read_image(path).shape == (3, 3, 4)


def test_exif_turns_the_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    Image.new("RGB", (4, 2)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (3, 4, 2)


def test_truncated(tmp_path):
    write_image(tmp_path / "a.png", torch.rand(3, 64, 64))
    data = (tmp_path / "a.png").read_bytes()
    for kept in (20, len(data) // 2):
        (tmp_path / "b.png").write_bytes(data[:kept])
        with pytest.raises(ValueError, match=r"b\.png: expected a complete picture"):
            read_image(tmp_path / "b.png")


def test_no_picture_and_no_file(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ValueError, match="expected a complete picture"):
        read_image(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "b.png")


def test_sixteen_bits_are_refused(tmp_path):
    Image.fromarray(np.full((4, 4), 40000, dtype=np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="expected 8 bits per channel"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 3, 4, 4), "expected a float tensor of shape"),
        (torch.zeros(4, 4, 3), "expected a float tensor of shape"),
        (torch.zeros(3, 4, 4, dtype=torch.uint8), "got uint8"),
        (torch.full((3, 2, 2), float("nan")), "got NaN in 12 values"),
    ],
)
def test_bad_image(tmp_path, image, message):
    with pytest.raises(ValueError, match=message):
        write_image(tmp_path / "a.png", image)
    assert not list(tmp_path.iterdir())


def test_unknown_suffix(tmp_path):
    with pytest.raises(ValueError, match="expected a suffix of a picture format"):
        write_image(tmp_path / "a.xyz", torch.zeros(3, 2, 2))
