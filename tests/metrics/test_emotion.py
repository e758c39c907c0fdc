"""Against torchmetrics' own, which knows no missing labels."""

from types import SimpleNamespace

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
from torchmetrics.regression import ConcordanceCorrCoef

from diffrig_emo.datasets.affectnet_files import EMOTIONS as FILE_NAMES
from diffrig_emo.metrics import ConcordanceCorrelation, EmotionAccuracy
from diffrig_emo.metrics.functional import (
    EMOTIONS,
    concordance_correlation,
    emotion_accuracy,
    emotion_confusion,
    emotion_top2,
)
from diffrig_emo.morphable.synthetic_head import EMOTIONS as HEAD_EMOTIONS

NAN = float("nan")


@pytest.fixture
def faces():
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 8, (200,), generator=generator)
    logits = torch.randn(200, 8, generator=generator) + 2 * torch.eye(8)[label]
    return logits, label


def test_the_names_are_in_one_order_everywhere():
    assert EMOTIONS == FILE_NAMES == tuple(HEAD_EMOTIONS)


def test_accuracy_and_confusion_are_torchmetrics(faces):
    logits, label = faces
    metric = EmotionAccuracy()
    for part in range(0, 200, 50):
        metric.update(logits[part : part + 50], label[part : part + 50])
    figures = metric.compute()
    torch.testing.assert_close(figures["confusion"], MulticlassConfusionMatrix(8)(logits, label).float())
    torch.testing.assert_close(figures["accuracy"], MulticlassAccuracy(8, average="micro")(logits, label))
    torch.testing.assert_close(figures["mean_accuracy"], MulticlassAccuracy(8, average="macro")(logits, label))
    each = torch.stack([figures[f"accuracy_{name}"] for name in EMOTIONS])
    torch.testing.assert_close(each, MulticlassAccuracy(8, average=None)(logits, label))


def test_top2_is_torchmetrics(faces):
    logits, label = faces
    metric = EmotionAccuracy()
    for part in (slice(0, 30), slice(30, 200)):
        metric.update(logits[part], label[part])
    wanted = MulticlassAccuracy(8, average="micro", top_k=2)(logits, label)
    torch.testing.assert_close(metric.compute()["top2_accuracy"], wanted)
    torch.testing.assert_close(emotion_accuracy(logits, label)["top2_accuracy"], wanted)
    assert emotion_accuracy(logits.argmax(1), label)["top2_accuracy"].isnan(), "labels alone have no second guess"
    gaps = torch.where(torch.arange(200) % 3 == 0, -1, label)
    known = gaps >= 0
    assert emotion_top2(logits, gaps).tolist() == emotion_top2(logits[known], label[known]).tolist()


def test_a_recognizer_that_is_given_judges_the_pictures(faces):
    logits, label = faces
    pictures = logits[:, :6].reshape(-1, 3, 1, 2).sigmoid()

    def recognizer(image):
        return SimpleNamespace(logits=image.flatten(1) @ torch.eye(6, 8))

    metric = EmotionAccuracy(recognizer)
    metric.update(pictures, label)
    wanted = emotion_accuracy(torch.cat([pictures.flatten(1), torch.zeros(200, 2)], dim=1), label)
    for name, value in wanted.items():
        torch.testing.assert_close(metric.compute()[name], value)


def test_a_recognizer_without_contempt_never_says_it(faces):
    logits, label = faces
    logits = logits.clone()
    logits[:, 7] = -torch.inf
    figures = emotion_accuracy(logits, label)
    assert figures["accuracy_contempt"] == 0
    assert emotion_confusion(logits, label)[:, 7].sum() == 0
    assert figures["top2_accuracy"].isfinite()


def test_unknown_labels_do_not_count(faces):
    logits, label = faces
    gaps = label.clone()
    gaps[::3] = -1
    torch.testing.assert_close(emotion_confusion(logits, gaps), emotion_confusion(logits[gaps >= 0], gaps[gaps >= 0]))
    assert emotion_accuracy(logits, torch.full_like(label, -1))["accuracy"].isnan()


def test_a_label_that_does_not_occur_is_left_out_of_the_mean():
    figures = emotion_accuracy(torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert figures["mean_accuracy"] == 0.5
    assert figures["accuracy_happy"].isnan()


def test_concordance_is_torchmetrics(faces):
    generator = torch.Generator().manual_seed(1)
    target = torch.rand(2000, 2, generator=generator) * 2 - 1
    pred = 0.5 * target + 0.2 * torch.randn(2000, 2, generator=generator) + 0.1
    metric = ConcordanceCorrelation()
    for part in range(0, 2000, 250):
        metric.update(pred[part : part + 250], target[part : part + 250])
    figures = torch.stack([metric.compute()["valence"], metric.compute()["arousal"]])
    torch.testing.assert_close(figures, concordance_correlation(pred, target))
    # torchmetrics divides by n - 1.
    torch.testing.assert_close(figures, ConcordanceCorrCoef(num_outputs=2)(pred, target), atol=1e-3, rtol=0)


def test_concordance_in_closed_form_with_gaps():
    target = torch.tensor([[-1.0, 0.0], [1.0, 0.5], [NAN, 0.3], [0.0, NAN]])
    pred = torch.tensor([[0.0, 0.0], [2.0, 0.5], [9.0, 9.0], [9.0, 9.0]])
    valence, arousal = concordance_correlation(pred, target).tolist()
    assert valence == pytest.approx(2 / 3)  # shifted by one standard deviation
    assert arousal == pytest.approx(1)
    assert concordance_correlation(pred[2:], target[2:]).isnan().all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"labels \(batch,\), got \(2, 7\) and \(2,\)"):
        emotion_confusion(torch.zeros(2, 7), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="label: expected labels from 0 to 7"):
        emotion_confusion(torch.zeros(1, 8), torch.tensor([8]))
    with pytest.raises(ValueError, match="pred and target: expected equal shapes"):
        ConcordanceCorrelation().update(torch.zeros(2, 2), torch.zeros(3, 2))
