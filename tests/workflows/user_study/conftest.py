"""A small study of two systems, and the browser to take part in it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from diffrig_emo.workflows.user_study.build import user_study_build

NAMES = ("anna_happy", "anna_sad", "ben_anger")
SYSTEMS = ("fluxomorph", "quillnet")


def write_picture(path, seed, size=32, **notes):
    """Blobs of colour; notes go into the file's metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)
    info = PngInfo()
    for name, text in notes.items():
        info.add_text(name, text)
    image.save(path, **({"pnginfo": info} if path.suffix == ".png" else {}))


def write_pictures(folder, systems=SYSTEMS, names=NAMES):
    """A folder per system, and the sources; the metadata say who made a picture."""
    for number, name in enumerate(names):
        for i, system in enumerate(systems):
            write_picture(folder / system / f"{name}.png", 100 * i + number, Software=system)
    for number, person in enumerate(sorted({name.split("_")[0] for name in names})):
        write_picture(folder / "photos" / f"{person}.png", 1000 + number)
    return {system: folder / system for system in systems}


def data_of(page):
    """What the page's script works on."""
    text = page.read_text(encoding="utf-8")
    return json.loads(text.split('<script type="application/json" id="study">')[1].split("</script>")[0])


def key_of(page):
    return json.loads(page.with_name(f"{page.stem}_key.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    """All kinds of questions: 3 + 3 about pairs, 6 about emotions, a check each."""
    folder = tmp_path_factory.mktemp("study")
    systems = write_pictures(folder)
    output = folder / "study.html"
    user_study_build(systems, folder / "photos", output, checks=1, image_size=32, introduction="Hello,\nand <thanks>.")
    return output
