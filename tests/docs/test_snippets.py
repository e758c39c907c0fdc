"""Every Python block of README and documentation runs as it stands; only its sizes are cut down here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMALLER = {
    "max_steps=1000": "max_steps=1",
    "num_train=3000": "num_train=16",
    "num_val=64": "num_val=2",
    "num_test=32": "num_test=2",
}


def _code(page):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    code = "\n".join(blocks)
    for full, small in SMALLER.items():
        code = code.replace(full, small)
    return code


WITH_CODE = [page for page in PAGES if _code(page)]


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: page.stem)
def test_the_page_is_true(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(_code(page), str(page), "exec"), {"__name__": "snippet"})


def test_every_extension_point_has_code():
    how_to = {page.stem for page in WITH_CODE if page.parent.name == "how-to"}
    assert how_to == {path.stem for path in (ROOT / "docs" / "how-to").glob("*.md")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_configs_that_are_named_are_shipped(page):
    shipped = {path.name for path in (ROOT / "diffrig_emo" / "configs").rglob("*.yaml")}
    assert set(re.findall(r"--config[ =](\S+\.yaml)", page.read_text(encoding="utf-8"))) <= shipped


def test_readme_has_the_two_commands_that_set_everything_up():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("demo", "tests"):
        (block,) = re.findall(rf"<!-- {name} -->\n```bash\n(.*?)```", readme, flags=re.DOTALL)
        assert block.count("\n") == 1, "one line"
        assert block.strip().endswith(f"nox -s {name}")
        assert "venv" in block
