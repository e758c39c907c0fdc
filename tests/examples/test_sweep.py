"""The sweep fills a table, and goes on where it was interrupted."""

import csv
import importlib.util
from pathlib import Path

import pytest
import yaml

import diffrig_emo

ROOT = Path(__file__).parents[2]
SHIPPED = Path(diffrig_emo.__file__).parent / "configs" / "sweep_global_encoder.yaml"
SMALL = [
    "trainer.max_steps=1",
    "trainer.limit_val_batches=1",
    "trainer.accelerator=cpu",
    "trainer.logger=false",
    "trainer.callbacks=null",
    "trainer.enable_progress_bar=false",
    "trainer.enable_model_summary=false",
    "data.init_args.num_train=2",
    "data.init_args.num_val=2",
    "data.init_args.num_test=2",
    "data.init_args.batch_size=2",
]


@pytest.fixture(scope="module")
def sweep():
    spec = importlib.util.spec_from_file_location("sweep", ROOT / "examples" / "sweep.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_shipped_places_are_in_the_config(sweep):
    content = yaml.safe_load(SHIPPED.read_text())
    assert set(content["grid"]) == set(content["places"])
    config = sweep.whole_config(content["config"])
    for places in content["places"].values():
        for place in places:
            sweep.put(config, place, 1)


def test_a_table_of_two_runs(sweep, tmp_path, monkeypatch):
    content = yaml.safe_load(SHIPPED.read_text())
    content["grid"] = {"backbone": ["test_resnet"], "dim": [8], "dropout": [0.1], "frozen": [False, True]}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    sweep.main(["small.yaml", "--output", "out", "--set", *SMALL])
    rows = list(csv.DictReader((tmp_path / "out" / "sweep.csv").read_text().splitlines()))
    assert [row["frozen"] for row in rows] == ["False", "True"]
    assert all(float(row["loss"]) > 0 and row["dim"] == "8" for row in rows)
    # What is frozen is not trained: timm's smallest ResNet.
    assert int(rows[0]["trained_parameters"]) - int(rows[1]["trained_parameters"]) > 300_000
    monkeypatch.setattr(sweep, "train", lambda *args: pytest.fail("was done already"))
    sweep.main(["small.yaml", "--output", "out", "--set", *SMALL])
