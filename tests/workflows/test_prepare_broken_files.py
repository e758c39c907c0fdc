"""Whatever a folder holds, every file is stored or listed."""

import io
import random

import numpy as np
from PIL import Image

from diffrig_emo.datasets import CodeStore
from tests.preparing import run


def test_five_hundred_broken_files_are_each_stored_or_listed(tmp_path):
    """Mutations of good files of every kind: bytes changed, cut out, doubled, cut off."""
    rng = random.Random(0)
    folder = tmp_path / "photos"
    folder.mkdir()
    originals = _pictures()
    for number in range(500):
        name, data = originals[number % len(originals)]
        data = bytearray(data)
        for _ in range(rng.randint(0, 3)):
            at = rng.randrange(max(1, len(data)))
            change = rng.randrange(4)
            if change == 0 and data:
                data[at] = rng.randrange(256)
            elif change == 1:
                del data[at : at + rng.randrange(40)]
            elif change == 2:
                data[at:at] = data[at : at + 20]
            else:
                del data[at:]
        (folder / f"{number:03d}{name}").write_bytes(data)
    run(folder, tmp_path / "faces.h5")
    store = CodeStore(tmp_path / "faces.h5")
    stored = {note["key"] for note in store.notes()}
    assert stored | store.skipped.keys() == {path.name for path in folder.iterdir()}
    assert not stored & store.skipped.keys()
    assert min(len(stored), len(store.skipped)) > 50
    assert all(store.skipped.values())


def _pictures():
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    rgb = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    kinds = [
        (".jpg", rgb, {"format": "JPEG", "exif": exif}),
        (".jpeg", rgb.convert("CMYK"), {"format": "JPEG"}),
        (".png", rgb.convert("P"), {"format": "PNG", "transparency": 0}),
        (".png", rgb.convert("RGBA"), {"format": "PNG"}),
        (".png", rgb.convert("L"), {"format": "PNG"}),
        (".png", Image.fromarray(pixels[..., 0].astype(np.uint16) * 257), {"format": "PNG"}),
        (".webp", rgb, {"format": "WEBP", "save_all": True, "append_images": [rgb.rotate(90)]}),
        (".bmp", rgb, {"format": "BMP"}),
        (".jpg", rgb, {"format": "GIF"}),
    ]
    found = [(".jpg", b""), (".png", b"no picture at all")]
    for suffix, picture, options in kinds:
        stream = io.BytesIO()
        picture.save(stream, **options)
        found.append((suffix, stream.getvalue()))
    return found
