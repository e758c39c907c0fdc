"""What reports tell, from figures that are made up."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from diffrig_emo.io.json_files import write_json
from diffrig_emo.workflows.compare.metrics import METRICS
from diffrig_emo.workflows.compare.store import SystemRun, write_figures
from diffrig_emo.workflows.compare.summary import (
    as_json,
    power_notes,
    published_means,
    published_table,
    summarise,
    verdicts,
)
from diffrig_emo.workflows.compare.tables import cost_table, published_rows, quality_table
from diffrig_emo.workflows.compare.tables import test_table as pair_table

N = 14


def run_of(seconds=0.1, **figures):
    faces = [f"f{i}" for i in range(N)]
    rows = [{name: float(values[i]) for name, values in figures.items()} for i in range(N)]
    return SystemRun({}, {}, faces, rows, [{"encode": seconds}] * N, {"encoder": 25.5, "rig": 0.0}, 3 * 2**20)


@pytest.fixture
def summary():
    rng = np.random.default_rng(0)
    base, other = rng.normal(20, 1, N), rng.normal(0.4, 0.1, N)
    rise, sway = 0.01 * np.arange(1, N + 1), 0.01 * np.arange(1, N + 1) * (-1.0) ** np.arange(N)
    gain = rng.uniform(0.5, 1, N)
    first = run_of(0.1, edit_psnr=base, expression_error=other, beta_drift=other)
    second = run_of(0.3, edit_psnr=base + gain, expression_error=other + rise, beta_drift=other + sway)
    return summarise({"deca": first, "emoca": second})


def test_the_later_system_is_tested_against_the_earlier_one(summary):
    tests = {c.metric.name: c for c in summary.comparisons}
    assert set(tests) == {"edit_psnr", "expression_error", "beta_drift"}
    assert {(c.first, c.second) for c in summary.comparisons} == {("emoca", "deca")}
    assert tests["edit_psnr"].verdict == "better"
    assert tests["expression_error"].verdict == "worse"  # lower is better, and it is higher
    assert tests["beta_drift"].verdict == "no clear difference"
    assert tests["edit_psnr"].test.p == pytest.approx(2 / 2**N)
    # Holm over the three: the two smallest are equal.
    assert tests["edit_psnr"].p_holm == pytest.approx(3 * 2 / 2**N)
    assert tests["expression_error"].p_holm == pytest.approx(3 * 2 / 2**N)


def test_the_verdict_says_where_and_at_what_cost(summary):
    (sentence,) = verdicts(summary)
    assert (
        "emoca against deca: of 3 figures better in 1 (edit PSNR to source), worse in 1 (edit expression)" in sentence
    )
    assert "3.00 times as long" in sentence


def test_the_smallest_number_of_faces_is_that_of_the_best_case(summary):
    assert power_notes(summary, N) == []
    (note,) = power_notes(summary, 5)
    enough = int(note.split("at least ")[1].rstrip("."))

    def best(n):
        return 3 * stats.wilcoxon(np.arange(1.0, n + 1)).pvalue

    assert best(enough) < 0.05 <= best(enough - 1)


def test_tables_mark_the_best_and_leave_out_what_is_not_there(summary):
    table = quality_table(summary, "edit")
    rows = {row[0]: (row[1:], best) for row, best in zip(table.rows, table.best, strict=True)}
    assert rows.keys() == {"PSNR to source ↑ dB", "expression ↓", "shape drift ↓"}
    assert rows["PSNR to source ↑ dB"][1] == 2
    assert rows["expression ↓"][1] == 1
    assert quality_table(summary, "reconstruction").rows == []
    costs = {row[0]: row[1:] for row in cost_table(summary).rows}
    assert costs["encoder, M parameters"] == ["25.50", "25.50"]
    assert costs["memory of an edit, MiB"] == ["3.0", "3.0"]
    assert costs["read its codes, ms"] == ["100.0", "300.0"]
    assert "paint, ms" not in costs
    assert [row[-1] for row in pair_table(summary, "emoca", "deca").rows].count("better") == 1


def test_published_figures_are_marked_and_averaged_over_emotions(summary):
    means = published_means(published_table())
    assert means["GANimation"]["psnr"] == pytest.approx((24.07 + 24.52 + 23.82 + 23.68 + 24.13 + 24.8) / 6)
    assert means["Groundtruth"].keys() == {"accuracy"}
    rows = published_rows(summary).rows
    assert len(rows) == 7
    assert all(row[0].startswith("published: ") for row in rows)
    assert "arXiv:2308.03183" in published_table()["source"]
    assert set(published_table()["columns"].values()) <= {m.name for m in METRICS}


def test_files_hold_what_is_known_and_nothing_that_is_no_number(summary, tmp_path):
    write_json(tmp_path / "a.json", {"x": math.nan, "y": [1, math.inf], **as_json(summary)})
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["x"], content["y"]) == (None, [1, None])
    assert content["means"]["deca"]["edit_psnr"]["n"] == N
    assert "landmark_error" not in content["means"]["deca"]
    write_figures(tmp_path / "f.csv", {"deca": run_of(edit_psnr=np.arange(N))})
    lines = (tmp_path / "f.csv").read_text().splitlines()
    assert len(lines) == 1 + N
    assert lines[3].startswith("f2,deca,")


def test_runs_of_different_faces_are_refused():
    other = SystemRun({}, {}, ["x"], [{}], [{}], {}, 0)
    with pytest.raises(ValueError, match="same faces"):
        summarise({"a": run_of(edit_psnr=np.arange(N)), "b": other})
