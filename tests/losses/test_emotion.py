import pytest
import torch
from torch.nn import functional as F

from diffrig_emo.losses.emotion import EmotionLoss, class_weights

NAN = float("nan")
AFFECTNET = (74_874, 134_415, 25_459, 14_090, 6_378, 3_803, 24_882, 3_750)


def test_inverse_weights_give_every_class_the_same_say():
    weights = class_weights(AFFECTNET, "inverse")
    torch.testing.assert_close(weights * torch.tensor(AFFECTNET), torch.full((8,), sum(AFFECTNET) / 8.0))


def test_effective_numbers_are_cui_s():
    beta = 0.999
    weights = class_weights([10_000_000, 1, 100], "effective", beta).double()
    expected = torch.tensor([1 - beta, 1.0, (1 - beta) / (1 - beta**100)], dtype=torch.float64)
    torch.testing.assert_close(weights / weights[1], expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("balance", ["inverse", "effective"])
def test_their_mean_over_the_faces_is_one_and_absent_classes_weigh_nothing(balance):
    counts = torch.tensor([*AFFECTNET[:7], 0])
    weights = class_weights(counts.tolist(), balance)
    assert weights[7] == 0
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="at least one of them above 0"):
        class_weights([0, 0])
    with pytest.raises(ValueError, match="beta"):
        class_weights([1, 2], beta=1.0)


def some():
    generator = torch.Generator().manual_seed(0)
    logits, va = torch.randn(4, 8, generator=generator), torch.rand(4, 2, generator=generator)
    return logits.requires_grad_(), va.requires_grad_(), torch.tensor([0, 3, 7, 3]), torch.rand(4, 2) * 2 - 1


def test_terms_of_complete_faces():
    logits, va, label, true_va = some()
    terms = EmotionLoss(label=2.0, valence_mse=1.0, arousal_mse=3.0, correlation=0.0, concordance=0.0)(
        logits, va, label, true_va
    )
    torch.testing.assert_close(terms["label"], F.cross_entropy(logits, label))
    torch.testing.assert_close(terms["valence_mse"], F.mse_loss(va[:, 0], true_va[:, 0]))
    torch.testing.assert_close(terms["loss"], 2 * terms["label"] + terms["valence_mse"] + 3 * terms["arousal_mse"])


def test_what_a_face_lacks_does_not_count():
    logits, va, label, true_va = some()
    loss = EmotionLoss(correlation=0.5)
    gaps, va_gaps = label.clone(), true_va.clone()
    gaps[1], va_gaps[2, 1] = -1, NAN
    terms = loss(logits, va, gaps, va_gaps)
    torch.testing.assert_close(terms["label"], F.cross_entropy(logits, gaps, ignore_index=-1))
    others = [0, 1, 3]
    for name in ("valence_mse", "arousal_mse", "correlation", "concordance"):
        expected = loss(logits[others], va[others], None, true_va[others])[name]
        torch.testing.assert_close(terms[name], expected)


@pytest.mark.parametrize("label", [None, torch.full((4,), -1)])
@pytest.mark.parametrize("true_va", [None, torch.full((4, 2), NAN)])
def test_a_batch_without_anything_costs_nothing(label, true_va):
    logits, va, *_ = some()
    loss = EmotionLoss(correlation=0.5)
    loss.class_weight = class_weights(AFFECTNET)
    total = loss(logits, va, label, true_va)["loss"]
    assert total == 0
    grads = torch.autograd.grad(total, [logits, va])
    assert not any(grad.any() for grad in grads)


def test_class_weights_are_pytorch_s():
    logits, va, label, _ = some()
    loss = EmotionLoss()
    loss.class_weight = class_weights(AFFECTNET, "inverse")
    expected = F.cross_entropy(logits, label, weight=loss.class_weight)
    torch.testing.assert_close(loss(logits, va, label, None)["label"], expected)


def test_shaken_weights_add_up_to_one_and_only_in_training():
    logits, va, label, true_va = some()
    loss = EmotionLoss(label=0.0, valence_mse=1.0, arousal_mse=0.0, concordance=0.0, shake=True)
    names = ("valence_mse", "arousal_mse", "correlation", "concordance")
    totals = set()
    for _ in range(5):
        terms = loss(logits, va, label, true_va)
        values = torch.stack([terms[name] for name in names])
        assert values.min() <= terms["loss"] <= values.max(), "a mean with weights"
        totals.add(terms["loss"].item())
    assert len(totals) == 5
    loss.eval()
    terms = loss(logits, va, label, true_va)
    assert terms["loss"] == terms["valence_mse"]


def test_weights_that_learn_nothing_are_refused():
    with pytest.raises(ValueError, match="at least 0 and not all 0"):
        EmotionLoss(0, 0, 0, 0, 0)
