"""JSON files hold what JSON can, and appear only when complete."""

import json
import math
from pathlib import Path

import pytest
import torch

from diffrig_emo.io.json_files import write_json


def test_what_is_not_finite_becomes_null_at_any_depth(tmp_path):
    write_json(tmp_path / "deep" / "a.json", {"x": math.nan, "y": (1, [-math.inf, 2.5]), "path": Path("b")})
    assert json.loads((tmp_path / "deep" / "a.json").read_text()) == {"x": None, "y": [1, [None, 2.5]], "path": "b"}


def test_what_json_cannot_hold_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": torch.ones(1)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
