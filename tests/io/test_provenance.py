import json
import re

import av
import numpy as np
import pytest
import torch
from PIL import Image

from diffrig_emo.io.images import read_image, write_image
from diffrig_emo.io.provenance import Provenance, read_provenance, write_edited_clip, write_edited_image
from diffrig_emo.io.video import write_frames

SETTINGS = {"emotion": "happy", "strength": 0.8, "source": "Zoë <&> ]]>.jpg", "set": ["exp[3]=1.5"]}
IPTC = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"


@pytest.fixture
def picture():
    return (torch.arange(3 * 8 * 12).reshape(3, 8, 12) % 256).float() / 255


def test_a_png_says_it_in_plain_text_and_in_xmp(tmp_path, picture):
    path = tmp_path / "deep" / "a.png"
    write_edited_image(path, picture, Provenance(SETTINGS))
    with Image.open(path) as image:  # Pillow did not write the metadata's words, and reads any PNG
        image.load()
        text = dict(image.text)
        assert np.array_equal(np.asarray(image), (picture * 255).round().byte().permute(1, 2, 0).numpy())
    assert re.fullmatch(r"diffrig_emo \d+\.\d+.*", text["Software"])
    assert json.loads(text["Comment"])["settings"] == SETTINGS
    assert f"<Iptc4xmpExt:DigitalSourceType>{IPTC}<" in text["XML:com.adobe.xmp"]
    assert "http://iptc.org/std/Iptc4xmpExt/2008-02-29/" in text["XML:com.adobe.xmp"]
    assert read_provenance(path) == Provenance(SETTINGS)


def test_a_jpeg_says_it_in_a_segment_a_comment_and_exif(tmp_path, picture):
    path = tmp_path / "a.jpg"
    write_edited_image(path, picture, Provenance(SETTINGS))
    data = path.read_bytes()
    assert data[:4] == b"\xff\xd8\xff\xe0", "JFIF first"
    assert data.count(b"http://ns.adobe.com/xap/1.0/\x00") == 1
    with Image.open(path) as image:
        image.load()
        assert json.loads(image.info["comment"])["settings"] == SETTINGS
        assert image.getexif()[0x0131].startswith("diffrig_emo ")
        (packet,) = [segment for name, segment in image.applist if b"xap/1.0" in segment]
        assert IPTC.encode() in packet
    assert (read_image(path) - picture).abs().mean() < 0.1
    assert read_provenance(path) == Provenance(SETTINGS)


def test_clips_say_it_in_their_container(tmp_path):
    frames = [torch.full((3, 16, 16), i / 4) for i in range(4)]
    for suffix in ("mp4", "gif"):
        write_edited_clip(tmp_path / f"a.{suffix}", frames, 8, Provenance(SETTINGS))
        assert read_provenance(tmp_path / f"a.{suffix}") == Provenance(SETTINGS)
        with av.open(str(tmp_path / f"a.{suffix}")) as container:
            assert len(list(container.decode(video=0))) == 4
            if suffix == "mp4":
                assert "AI-edited" in container.metadata["title"]
                assert json.loads(container.metadata["comment"])["digital_source_type"] == IPTC
    with Image.open(tmp_path / "a.gif") as image:
        assert json.loads(image.info["comment"])["settings"]["emotion"] == "happy"


def test_what_nobody_edited_says_nothing(tmp_path, picture):
    for name in ("a.png", "a.jpg"):
        write_image(tmp_path / name, picture)
        assert read_provenance(tmp_path / name) is None
    for name in ("a.mp4", "a.gif"):
        write_frames(tmp_path / name, [torch.zeros(3, 16, 16)] * 2)
        assert read_provenance(tmp_path / name) is None


def test_bad_files_and_names_are_refused(tmp_path, picture):
    with pytest.raises(ValueError, match=r"expected a name that ends in \.png"):
        write_edited_image(tmp_path / "a.bmp", picture, Provenance({}))
    with pytest.raises(ValueError, match="use PNG"):
        write_edited_image(tmp_path / "a.jpg", picture, Provenance({"long": "x" * 70000}))
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_provenance(tmp_path / "none.png")
    for name in ("a.png", "a.mp4"):
        (tmp_path / name).write_bytes(b"rubbish")
        with pytest.raises(ValueError, match="sound metadata"):
            read_provenance(tmp_path / name)
