import pytest
import torch

from diffrig_emo.losses import adaptive_weight, hinge_loss


def test_a_critic_that_is_right_by_a_margin_has_no_loss():
    assert hinge_loss(torch.full((3,), 1.5), torch.full((3,), -1.0)).item() == 0
    assert hinge_loss(torch.zeros(3), torch.zeros(3)).item() == 1


def test_the_weight_makes_both_gradients_equally_strong():
    torch.manual_seed(0)
    layer = torch.nn.Linear(4, 4)
    y = layer(torch.randn(8, 4))
    kept, adversarial = y.abs().mean(), 0.01 * y.square().mean()
    weight = adaptive_weight(kept, adversarial, layer.weight)
    gradients = [torch.autograd.grad(loss, layer.weight, retain_graph=True)[0].norm() for loss in (kept, adversarial)]
    assert (weight * gradients[1]).item() == pytest.approx(gradients[0].item(), rel=0.02)
    assert not weight.requires_grad
    assert adaptive_weight(kept, adversarial, layer.weight, most=0.5).item() == 0.5
