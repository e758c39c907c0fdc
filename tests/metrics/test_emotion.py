"""Against torchmetrics' own, which knows no missing labels."""

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix
from torchmetrics.regression import ConcordanceCorrCoef

from diffrig_emo.datasets.affectnet_files import EMOTIONS as FILE_NAMES
from diffrig_emo.metrics import ConcordanceCorrelation, EmotionAccuracy
from diffrig_emo.metrics.functional import EMOTIONS, concordance_correlation, emotion_accuracy, emotion_confusion
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
