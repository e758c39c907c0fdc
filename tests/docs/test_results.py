"""The tables of the results pages are those of the committed figures."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted((DOCS / "results").glob("*.md"))


@pytest.fixture(scope="module")
def results():
    spec = importlib.util.spec_from_file_location("results", DOCS / "config" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_tables_are_current(results, page):
    text = page.read_text(encoding="utf-8")
    assert results.filled(text) == text, "run python docs/config/results.py"


def test_a_table_has_means_deviations_and_gaps(results):
    figures = {"a": {"x": {"mean": 12.346, "std": 0.5, "n": 3}}, "b": {"y": 0.25}}
    assert results.table(figures, ["x", "y"]) == (
        "|  | x | y |\n| --- | --: | --: |\n| `a` | 12.35 ± 0.500 |  |\n| `b` |  | 0.250 |\n"
    )
    assert [results.digits(value) for value in (6.07e-5, 0.0, 0.001)] == ["6.1e-05", "0.000", "0.001"]
