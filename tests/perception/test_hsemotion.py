"""HSEmotion's recogniser on a tiny ONNX file of the same kind, against numpy."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
import torch

from diffrig_emo.metrics import EmotionAccuracy
from diffrig_emo.metrics.functional import EMOTIONS
from diffrig_emo.perception import HSEmotionRecognizer
from diffrig_emo.utils import Skipped, unless_missing

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

EIGHT = ["Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise"]
OURS = {"Happiness": "happy", "Sadness": "sad"}


def write_network(path, weight, side=24, bias=None):
    """A mean over the picture and one linear layer: input (batch, 3, side, side), output (batch, classes)."""
    from onnx import TensorProto, helper, numpy_helper

    classes = len(weight)
    bias = np.zeros(classes) if bias is None else bias
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["output"], transB=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch_size", 3, side, side])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["batch_size", classes])],
        [
            numpy_helper.from_array(np.asarray(weight, dtype=np.float32), "weight"),
            numpy_helper.from_array(np.asarray(bias, dtype=np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.fixture
def weight():
    return np.random.default_rng(0).normal(size=(10, 3))


@pytest.fixture
def faces():
    return torch.rand(5, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def outputs_of(weight, faces):
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return ((faces.double().numpy().mean(axis=(2, 3)) - mean) / std) @ weight.T


@pytest.mark.parametrize(("classes", "va"), [(8, False), (7, False), (8, True), (7, True)])
def test_classes_come_into_affectnets_order_by_name(tmp_path, weight, faces, classes, va):
    names = EIGHT if classes == 8 else [name for name in EIGHT if name != "Contempt"]
    weight = weight[: classes + 2 * va]
    recognizer = HSEmotionRecognizer(write_network(tmp_path / "enet.onnx", weight))
    seen = recognizer(faces)
    outputs = outputs_of(weight, faces)
    for i, name in enumerate(names):
        ours = EMOTIONS.index(OURS.get(name, name.lower()))
        np.testing.assert_allclose(seen.logits[:, ours].numpy(), outputs[:, i], rtol=1e-4, atol=1e-5)
    if classes == 7:
        assert (seen.logits[:, EMOTIONS.index("contempt")] == -torch.inf).all()
        assert (seen.probabilities[:, 7] == 0).all()
    if va:
        np.testing.assert_allclose(seen.va.numpy(), outputs[:, -2:].clip(-1, 1), rtol=1e-4, atol=1e-5)
    else:
        assert seen.va.isnan().all()
    assert recognizer.image_size == 24
    assert recognizer.feature_dim == seen.feature.shape[1] == classes + 2 * va


def test_a_class_is_recognised_as_itself(tmp_path):
    """Each output alone on top, by its bias: the label is its name's, not its place's."""
    for place, name in enumerate(EIGHT):
        path = write_network(tmp_path / f"{place}.onnx", np.zeros((8, 3)), bias=np.eye(8)[place])
        label = HSEmotionRecognizer(path)(torch.rand(1, 3, 30, 20)).label
        assert EMOTIONS[label] == OURS.get(name, name.lower())


def test_other_orders_are_given_by_name(tmp_path, faces):
    names = ["sad", "Happiness", "neutral"]
    path = write_network(tmp_path / "mine.onnx", np.zeros((3, 3)), bias=[0, 5, 0])
    assert HSEmotionRecognizer(path, classes=names)(faces).label.tolist() == [1] * 5
    with pytest.raises(ValueError, match=r"expected 7 or 8 classes, .* got 3 outputs; give the names of its classes"):
        HSEmotionRecognizer(path)
    with pytest.raises(ValueError, match=r"classes: expected names among neutral, .*, got 'boredom'"):
        HSEmotionRecognizer(path, classes=["sad", "boredom", "neutral"])
    with pytest.raises(ValueError, match="got 3 outputs for 2 classes"):
        HSEmotionRecognizer(path, classes=names[:2])


def test_it_judges_for_the_metric(tmp_path, weight, faces):
    recognizer = HSEmotionRecognizer(write_network(tmp_path / "enet_b2_8.onnx", weight[:8]))
    label = recognizer(faces).label
    metric = EmotionAccuracy(recognizer)
    metric.update(faces[:2], label[:2])
    metric.update(faces[2:], (label[2:] + 1) % 8)
    assert metric.compute()["accuracy"].item() == pytest.approx(2 / 5)


def test_it_is_found_by_name_or_skipped_with_the_reason(tmp_path, weight, monkeypatch):
    skipped = unless_missing("emotion accuracy", HSEmotionRecognizer)
    assert isinstance(skipped, Skipped)
    assert "EmotiEffLib" in skipped.reason
    (tmp_path / "hsemotion").mkdir()
    write_network(tmp_path / "hsemotion" / "enet_b0_8_best_vgaf.onnx", weight[:8])
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(tmp_path))
    assert isinstance(unless_missing("emotion accuracy", HSEmotionRecognizer), HSEmotionRecognizer)


def test_without_onnxruntime_it_is_skipped_with_the_command(tmp_path, weight, monkeypatch):
    path = write_network(tmp_path / "enet.onnx", weight[:8])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    skipped = unless_missing("emotion accuracy", lambda: HSEmotionRecognizer(path))
    assert isinstance(skipped, Skipped)
    assert 'pip install "diffrig_emo[emotion]"' in skipped.reason


def test_gradients_are_refused_not_dropped(tmp_path, weight, faces):
    recognizer = HSEmotionRecognizer(write_network(tmp_path / "enet.onnx", weight[:8]))
    asking = faces.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="gives no gradients"):
        recognizer(asking)
    with torch.no_grad():
        assert recognizer(asking).logits.isfinite().all()


def test_other_files_are_named(tmp_path, weight):
    torn = tmp_path / "torn.onnx"
    torn.write_bytes(b"onnx")
    with pytest.raises(ValueError, match=r"torn\.onnx: expected an ONNX file"):
        HSEmotionRecognizer(torn)
    dynamic = write_network(tmp_path / "dynamic.onnx", weight[:8], side="side")
    with pytest.raises(ValueError, match="of a fixed side, got"):
        HSEmotionRecognizer(dynamic)


def test_it_can_be_copied_with_the_metric_that_holds_it(tmp_path, weight, faces):
    metric = EmotionAccuracy(HSEmotionRecognizer(write_network(tmp_path / "enet.onnx", weight[:8])))
    again = copy.deepcopy(metric)
    again.update(faces, torch.zeros(5, dtype=torch.long))
    assert again.compute()["confusion"].sum() == 5
