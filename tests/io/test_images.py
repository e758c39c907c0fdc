from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from skimage.io import imread

from diffrig_emo.io import images
from diffrig_emo.io.images import read_image, read_zoom, write_image


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
    with pytest.raises(ValueError, match=r"got more than 8 bits per channel \(mode I;16"):
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


def test_an_empty_file_is_named(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.jpg: expected a complete picture, got an empty file"):
        read_image(tmp_path / "a.jpg")


def test_formats_that_start_programs_are_not_tried(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\nshowpage\n")
    with pytest.raises(ValueError, match="got something else than BMP, GIF, JPEG"):
        read_image(tmp_path / "a.jpg")


def test_sixteen_bit_colour_keeps_its_upper_bits(tmp_path):
    deep = np.full((4, 4, 3), 0x80FF, dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), deep)
    assert (read_image(tmp_path / "a.png") * 255).round().unique().tolist() == [128.0]


def test_cmyk_and_alpha_give_the_colours(tmp_path):
    Image.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    assert (read_image(tmp_path / "a.jpg")[:, 0, 0] - torch.tensor([1.0, 0.0, 0.0])).abs().max() < 0.03
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "b.png")
    assert (read_image(tmp_path / "b.png")[:, 0, 0] * 255).round().tolist() == [10.0, 20.0, 30.0]


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_of_an_animation_it_is_the_first_frame(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], duration=100)
    assert (read_image(tmp_path / f"a{suffix}")[:, 4, 4] - torch.tensor([1.0, 0.0, 0.0])).abs().max() < 0.03


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_huge_pictures_are_halved(tmp_path, monkeypatch, suffix, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(data.astronaut()[:400])
    picture.save(tmp_path / f"a{suffix}", exif=exif)
    whole = read_image(tmp_path / f"a{suffix}")
    assert read_zoom(tmp_path / f"a{suffix}") == 1
    monkeypatch.setattr(images, "MAX_PIXELS", 512 * 400 // 16)
    small = read_image(tmp_path / f"a{suffix}")
    assert read_zoom(tmp_path / f"a{suffix}") == 0.25
    assert small.shape == (3, whole.shape[1] // 4, whole.shape[2] // 4)
    expected = torch.nn.functional.avg_pool2d(whole[None], 4)[0]
    assert (small - expected).abs().mean() < 0.01


def test_twelve_thousand_by_twelve_thousand(tmp_path):
    Image.new("L", (12000, 12000), 77).save(tmp_path / "a.jpg")
    assert read_zoom(tmp_path / "a.jpg") == 0.5
    picture = read_image(tmp_path / "a.jpg")
    assert picture.shape == (3, 6000, 6000)
    assert round(float(picture[0, 3000, 3000]) * 255) == 77


def test_a_picture_that_claims_to_be_gigantic_is_refused(tmp_path):
    with io.BytesIO() as file:
        Image.new("L", (4, 4)).save(file, "bmp")
        content = bytearray(file.getvalue())
    content[18:26] = (10**6).to_bytes(4, "little") * 2
    (tmp_path / "a.bmp").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.bmp: expected a complete picture, got DecompressionBombError"):
        read_image(tmp_path / "a.bmp")


def test_six_hundred_damaged_files_are_read_or_refused(tmp_path):
    random = np.random.default_rng(0)
    face = Image.fromarray(data.astronaut()[80:128, 190:254])
    exif = Image.Exif()
    exif[0x0112] = 6
    sound = []
    for suffix, options in [("jpg", {"exif": exif}), ("png", {}), ("webp", {}), ("bmp", {}), ("gif", {}), ("tif", {})]:
        face.save(tmp_path / f"sound.{suffix}", **options)
        sound.append((tmp_path / f"sound.{suffix}").read_bytes())
    refused = 0
    for number in range(600):
        content = bytearray(sound[number % len(sound)])
        kind = number // len(sound) % 4
        if kind == 0:  # cut off
            del content[random.integers(len(content)) :]
        elif kind == 1:  # a piece is missing
            start = int(random.integers(len(content)))
            del content[start : start + int(random.integers(1, 200))]
        else:  # bytes are wrong, anywhere or in the head
            end = len(content) if kind == 2 else 64
            for _ in range(random.integers(1, 12)):
                content[random.integers(end)] = random.integers(256)
        path = tmp_path / "damaged.jpg"
        path.write_bytes(content)
        try:
            picture = read_image(path)
            assert picture.shape[0] == 3
            assert 0 <= picture.min() <= picture.max() <= 1
        except ValueError as error:
            assert str(error).startswith(f"{path}: expected a complete picture, got ")  # noqa: PT017
            refused += 1
    assert 100 < refused < 590
