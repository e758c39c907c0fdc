import json
import math

import pytest
import torch

from diffrig_emo.cli import main
from diffrig_emo.io.obj import read_obj
from diffrig_emo.workflows.demo import demo
from diffrig_emo.workflows.experiment import load_experiment

KEYS = {
    "faces",
    "psnr_face",
    "psnr_face_source",
    "psnr_face_render_paste",
    "psnr_face_render_delta",
    "psnr_changed_edit",
    "psnr_changed_source",
    "psnr_changed_random_noise",
    "psnr_changed_render_delta",
    "psnr_changed_shuffled_buffers",
    "psnr_rest",
}


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The demo through its command, with hardly any training."""
    folder = tmp_path_factory.mktemp("demo")
    main(["demo", f"--output={folder}", "--steps=2", "--encoder_steps=2", "--train_faces=32", "--test_faces=4"])
    return folder


def test_metrics_hold_every_figure(output):
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics.keys() >= KEYS | {"seconds", "peak_memory_gb", "inferred_codes"}
    assert metrics["inferred_codes"].keys() >= KEYS - {"faces"}
    assert metrics["faces"] == 4
    assert all(math.isfinite(metrics[key]) for key in KEYS)
    assert 0 < metrics["peak_memory_gb"] < 6


def test_baselines_need_no_training(output):
    metrics = json.loads((output / "metrics.json").read_text())
    # Adding the change of the rendering to the photo is a good guess where codes are exact.
    assert metrics["psnr_changed_render_delta"] > metrics["psnr_changed_source"] + 1


def test_report_is_self_contained(output):
    page = (output / "report.html").read_text()
    assert page.count("data:image/png;base64,") >= 4 * 7 * 4
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "src='http" not in page


def test_mesh_and_checkpoints_open_again(output):
    mesh = read_obj(output / "face.obj")
    assert len(mesh.vertices) > 2000
    assert (output / "face.png").stat().st_size > 1000
    model = type(load_experiment(output / "rig" / "config.yaml").model)
    rig = model.load_from_checkpoint(output / "rig" / "last.ckpt", weights_only=True)
    assert rig.prediction_type == "v"


def test_a_killed_demo_can_be_run_again_over_its_folder(output):
    (output / "metrics.json").write_text("{ half a file")
    (output / "rig" / "last.ckpt").write_bytes(b"torn")
    demo(str(output), steps=1, encoder_steps=1, train_faces=32, test_faces=4)
    assert json.loads((output / "metrics.json").read_text())["faces"] == 4
    assert torch.load(output / "rig" / "last.ckpt", weights_only=True)["global_step"] == 1


@pytest.mark.parametrize("argument", ["steps", "encoder_steps", "train_faces", "test_faces"])
def test_numbers_too_small_are_named_before_any_work(argument, tmp_path):
    with pytest.raises(ValueError, match=f"{argument} must be at least"):
        demo(str(tmp_path / "out"), **{argument: 0})
    assert not (tmp_path / "out").exists()
