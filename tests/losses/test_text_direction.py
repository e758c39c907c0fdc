import math

import pytest
import torch

from diffrig_emo.losses import text_direction_loss

SOURCE = torch.tensor([[1.0, 0.0]])
EDIT = torch.tensor([[0.0, 3.0]])  # of any length: the change of the directions is (-1, 1)


@pytest.mark.parametrize(
    ("direction", "loss"),
    [([-2.0, 2.0], 0.0), ([1.0, 1.0], math.log(2)), ([0.0, 1.0], -math.log((1 + math.sqrt(0.5)) / 2))],
)
def test_the_loss_is_that_of_the_angle(direction, loss):
    assert text_direction_loss(EDIT, SOURCE, torch.tensor([direction])).item() == pytest.approx(loss, abs=1e-6)


def test_opposite_changes_have_a_finite_loss():
    assert text_direction_loss(EDIT, SOURCE, torch.tensor([[1.0, -1.0]])).isfinite().all()


def test_an_edit_that_changes_nothing_has_finite_gradients():
    edit = SOURCE.clone().requires_grad_()
    text_direction_loss(edit, SOURCE, torch.tensor([[0.0, 1.0]])).sum().backward()
    assert edit.grad.isfinite().all()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="equal shapes"):
        text_direction_loss(EDIT, SOURCE, torch.zeros(1, 3))
