"""The report's page: what is in its file, and what its gallery does in a browser."""

from __future__ import annotations

import json
import re

import pytest
import torch

from diffrig_emo.io.images import write_image
from diffrig_emo.workflows.compare.faces import Place, Reference
from diffrig_emo.workflows.compare.page import picture_uri, write_page
from diffrig_emo.workflows.compare.store import PICTURES, SystemRun, picture_path
from diffrig_emo.workflows.compare.summary import summarise

FACES = ["anna", "ben", "cleo", "</script>dan"]
PSNR = {"deca": [20.0, 22.0, 21.0, None], "emoca": [25.0, 21.0, 26.5, 24.0]}
LIGHT = {"deca": [0.4, 0.1, 0.3, 0.2], "emoca": [0.2, 0.5, 0.1, 0.3]}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    output = tmp_path_factory.mktemp("comparison")
    faces = [name.replace("</script>", "_") for name in FACES]
    runs = {}
    for number, system in enumerate(("deca", "emoca")):
        figures = [
            {"light_drift": light} | ({} if psnr is None else {"edit_psnr": psnr})
            for psnr, light in zip(PSNR[system], LIGHT[system], strict=True)
        ]
        runs[system] = SystemRun({}, {}, faces, figures, [{"encode": 0.1}] * 4, {"encoder": 1, "rig": 2}, 10)
        for i, face in enumerate(faces):
            for j, what in enumerate(PICTURES):
                colour = torch.tensor([number, i / 4, j])[:, None, None].expand(3, 24, 24)
                write_image(picture_path(output, system, face, what), colour.float())
    place = Place(torch.tensor([[0.0, 0, 9, 9]]), "bbox")
    grey = [torch.full((1, 3, 24, 24), i / 5) for i in range(4)]
    references = [Reference(grey[i], grey[(i + 1) % 4], None, place, place, None, None) for i in range(4)]
    write_page(
        output,
        summarise(runs),
        runs,
        references,
        {name: {"rig": None, "encoder": "<b>DECA</b>"} for name in runs},
        ["A note with <angles>."],
        {"edit_lpips": "its file is missing"},
        "They are not real.",
    )
    return output / "report.html"


def test_the_page_has_everything_in_it_and_asks_for_nothing(page):
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"""(?:src|href)=["']?(?!data:)[^"'\s>]+""", text.split('<script type="application/json"')[0])
    assert "http://" not in text
    assert "https://" not in text
    assert "default-src 'none'" in text
    assert "AI-edited" in text
    assert "They are not real." in text
    assert "&lt;b&gt;DECA&lt;/b&gt;" in text
    assert "A note with &lt;angles&gt;." in text
    assert "edit_lpips: its file is missing" in text
    assert "published: StarGAN v2" in text
    assert "Published, not measured here." in text
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert data["systems"] == ["deca", "emoca"]
    assert [face["name"] for face in data["faces"]] == ["anna", "ben", "cleo", "_dan"]
    assert data["faces"][3]["goal"] == "anna"
    assert "edit_psnr" not in data["faces"][3]["figures"]["deca"]
    assert data["faces"][0]["systems"]["deca"]["edit"].startswith("data:image/webp;base64,")
    assert data["faces"][1]["sources"].keys() == {"source", "gives the expression"}


def test_pictures_are_made_small():
    from base64 import b64decode
    from io import BytesIO

    from PIL import Image

    image = Image.open(BytesIO(b64decode(picture_uri(torch.rand(3, 300, 400)).split(",")[1])))
    assert (image.format, image.size) == ("WEBP", (192, 144))


CHOOSE = """
const choice = document.getElementById(arguments[0]);
choice.value = [...choice.options].find((option) => option.text.startsWith(arguments[1])).value;
for (const kind of ["input", "change"]) choice.dispatchEvent(new Event(kind, {bubbles: true}));
"""
"""What a reader does with the mouse, for which a busy machine may not have drawn the page yet."""


def test_the_gallery_is_sorted_by_any_figure_of_any_system(page, browser):
    browser.get_log("performance")
    browser.get(page.as_uri())

    def choose(**wanted):
        for name, text in wanted.items():
            browser.execute_script(CHOOSE, name, text)
        return browser.execute_script("return [...document.querySelectorAll('.face')].map(f => f.dataset.name)")

    # Higher is better; who has no figure comes last, either way.
    assert choose(metric="edit: PSNR", system="deca", order="best") == ["ben", "cleo", "anna", "_dan"]
    assert choose(order="worst") == ["anna", "cleo", "ben", "_dan"]
    assert choose(system="emoca minus deca", order="best") == ["cleo", "anna", "ben", "_dan"]
    # Lower is better.
    assert choose(metric="edit: light", system="deca", order="best") == ["ben", "_dan", "cleo", "anna"]
    assert choose(order="the faces") == ["anna", "ben", "cleo", "_dan"]
    shown = browser.execute_script(
        "return [...document.querySelectorAll('.face:first-child b')].map(b => b.textContent)"
    )
    assert shown == ["0.400", "0.200"]
    assert not browser.find_elements("css selector", ".reconstructions")
    browser.find_element("css selector", "#reconstructions").click()
    assert len(browser.find_elements("css selector", ".reconstructions img")) == 8
    urls = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"] == "Network.requestWillBeSent"
    ]
    # What the browser's own first tab loads is its affair.
    ours = [url for url in urls if not url.startswith(("data:", "chrome:", "chrome-untrusted:"))]
    assert ours == [page.as_uri()]
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
