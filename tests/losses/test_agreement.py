"""Against torchmetrics, which is not ours, and closed forms."""

import pytest
import torch
from torchmetrics.functional import concordance_corrcoef, pearson_corrcoef

from diffrig_emo.losses.agreement import concordance_loss, correlation_loss

NAN = float("nan")


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(40, 2, generator=generator) * 2 - 1
    return 0.6 * target + 0.3 * torch.randn(40, 2, generator=generator) + 0.1, target


def test_they_are_one_minus_torchmetrics_coefficients(pair):
    pred, target = pair
    torch.testing.assert_close(
        concordance_loss(pred, target), (1 - concordance_corrcoef(pred, target)).mean(), atol=2e-2, rtol=0
    )  # torchmetrics divides by n - 1, which is not Lin's definition: 1/40 apart at most
    torch.testing.assert_close(
        correlation_loss(pred, target), (1 - pearson_corrcoef(pred, target)).mean(), atol=1e-4, rtol=0
    )


def test_a_shift_costs_concordance_what_lin_says_and_no_correlation():
    target = torch.tensor([[-1.0], [1.0]])  # variance 1
    assert concordance_loss(target + 1, target).item() == pytest.approx(1 - 2 / (1 + 1 + 1), abs=1e-5)
    assert correlation_loss(target + 1, target).item() == pytest.approx(0, abs=1e-5)
    assert concordance_loss(-target, target).item() == pytest.approx(2, abs=1e-5)


def test_rows_without_annotation_do_not_count(pair):
    pred, target = pair
    gaps = target.clone()
    gaps[3, 0] = gaps[7] = NAN
    keep = [i for i in range(40) if i not in (3, 7)]
    for loss in (concordance_loss, correlation_loss):
        pred_leaf = pred.clone().requires_grad_()
        value = loss(pred_leaf, gaps)
        torch.testing.assert_close(value, loss(pred[keep], target[keep]))
        (grad,) = torch.autograd.grad(value, pred_leaf)
        assert grad.isfinite().all()
        assert not grad[[3, 7]].any()


@pytest.mark.parametrize("loss", [concordance_loss, correlation_loss])
@pytest.mark.parametrize("rows", [[[NAN, NAN]] * 3, [[0.1, 0.2], [NAN, 0.0], [NAN, 0.0]], [[0.5, 0.5]] * 3])
def test_degenerate_batches_have_finite_gradients(loss, rows):
    pred = torch.zeros(3, 2, requires_grad=True)
    (grad,) = torch.autograd.grad(loss(pred, torch.tensor(rows)), pred)
    assert grad.isfinite().all()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"expected equal shapes \(batch, dims\), got \(3, 2\) and \(3, 1\)"):
        concordance_loss(torch.zeros(3, 2), torch.zeros(3, 1))
