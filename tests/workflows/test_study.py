import json

import pytest
import torch

from diffrig_emo.cli import main
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.workflows.study import aggregate, study
from diffrig_emo.workflows.study_judge import with_emotions

SYSTEMS = {
    "source",
    "render_delta",
    "stage_one",
    "control",
    "stage_two_one_step",
    "stage_two_truncated",
    "stage_two_inversion",
    "personalised",
}
METRICS = {
    "expression_error",
    "beta_drift",
    "texture_drift",
    "pose_drift",
    "light_drift",
    "psnr",
    "ssim",
    "emotion_accuracy",
}
TINY = {
    "steps": 1,
    "faces": 8,
    "guide_faces": 32,
    "guide_points": 14,
    "judge_faces": 32,
    "judge_points": 7,
    "rig_steps": 2,
    "recognizer_steps": 2,
    "train_faces": 32,
    "recognizer_faces": 32,
    "num_inference_steps": 2,
}


def test_the_study_runs_through_the_command_line_and_goes_on_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = [f"--{name}={value}" for name, value in TINY.items()]
    main(["study", "--output=out", "--seeds=[3]", *arguments])
    table = json.loads((tmp_path / "out/study.json").read_text())
    assert table.keys() >= SYSTEMS
    for system in SYSTEMS:
        assert table[system].keys() >= METRICS, system
    assert json.loads((tmp_path / "out/encoders.json").read_text()).keys() == {"guide", "judge"}
    assert table["source"]["beta_drift"] == {"mean": 0.0, "std": 0.0, "n": 1}
    assert table["true_edit"]["psnr"]["mean"] > table["source"]["psnr"]["mean"]
    assert (tmp_path / "out/seed_3.png").is_file()
    before = (tmp_path / "out/seed_3.json").stat().st_mtime_ns
    main(["study", "--output=out", "--seeds=[3]", *arguments])
    assert (tmp_path / "out/seed_3.json").stat().st_mtime_ns == before
    assert "done before" in capsys.readouterr().out


def test_means_and_deviations_over_seeds():
    results = [{"a": {"x": float(v)}} for v in (1, 2, 6)]
    expected = torch.tensor([1.0, 2, 6]).std().item()
    assert aggregate(results)["a"]["x"] == {"mean": 3.0, "std": pytest.approx(expected), "n": 3}


def test_emotions_replace_the_expression_and_the_jaw_alone():
    codes = SyntheticFaces(3, 64).codes()
    changed = with_emotions(codes, torch.tensor([0, 3, 3]))
    assert not changed.exp[0].any()
    assert torch.equal(changed.exp[1], changed.exp[2])
    assert torch.equal(changed.global_rotation, codes.global_rotation)
    assert torch.equal(changed.shape, codes.shape)


def test_numbers_too_small_are_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="faces must be at least 8, got 1"):
        study(str(tmp_path / "out"), faces=1)
    assert not (tmp_path / "out").exists()
