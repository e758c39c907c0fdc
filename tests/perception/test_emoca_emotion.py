"""EMOCA's emotion ResNet-50: names and shapes of the original, and Caffe's layout written out."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torchvision.models import resnet50

from diffrig_emo.perception.emoca_emotion import EmocaEmotionRecognizer, _Network, caffe_resnet50
from tests.perception.conftest import CHECKPOINT


@pytest.fixture(scope="module")
def path(emotion_folder):
    return emotion_folder / "ResNet50" / "checkpoints" / CHECKPOINT


@pytest.fixture(scope="module")
def recognizer(path):
    return EmocaEmotionRecognizer(path)


@pytest.fixture(scope="module")
def image():
    return torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def test_names_and_shapes_are_those_of_the_original(resnet_shapes):
    with torch.device("meta"):
        state = _Network().state_dict()
    assert {name: list(tensor.shape) for name, tensor in state.items()} == resnet_shapes


def written_out(state, x):
    """The whole network from its weights, layer by layer, as Caffe's ResNet-50 is defined."""

    def norm(x, name):
        mean, var, weight, bias = (state[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-5)

    x = F.relu(norm(F.conv2d(x, state["backbone.conv1.weight"], stride=2, padding=3), "backbone.bn1"))
    # Ceil mode without padding: windows that start inside, cut off at the right and lower border.
    x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 3, 2)
    for layer, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            name = f"backbone.layer{layer}.{block}"
            stride = 2 if layer > 1 and block == 0 else 1
            y = F.relu(norm(F.conv2d(x, state[f"{name}.conv1.weight"], stride=stride), f"{name}.bn1"))
            y = F.relu(norm(F.conv2d(y, state[f"{name}.conv2.weight"], padding=1), f"{name}.bn2"))
            y = norm(F.conv2d(y, state[f"{name}.conv3.weight"]), f"{name}.bn3")
            if block == 0:
                x = F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
                x = norm(x, f"{name}.downsample.1")
            x = F.relu(x + y)
    feature = F.avg_pool2d(x, 7).flatten(1)
    return feature, F.linear(feature, state["linear.weight"], state["linear.bias"])


def test_it_is_caffe_s_network(recognizer, resnet_state, image):
    with torch.no_grad():
        seen = recognizer(image)
        feature, outputs = written_out(resnet_state, image)
    assert feature.std() > 1e-3
    torch.testing.assert_close(seen.feature, feature, rtol=0, atol=2e-5 * float(feature.abs().max()))
    torch.testing.assert_close(seen.logits, outputs[:, :8], rtol=0, atol=2e-5 * float(outputs.abs().max()))
    torch.testing.assert_close(seen.va, outputs[:, 8:].clamp(-1, 1), rtol=0, atol=2e-5 * float(outputs.abs().max()))


@pytest.fixture(scope="module")
def both_kinds():
    caffe, torchvision = caffe_resnet50().eval(), resnet50(weights=None).eval()
    torchvision.load_state_dict(caffe.state_dict())
    return caffe, torchvision


def test_a_halving_block_is_torchvision_s_unstrided_block_on_every_other_pixel(both_kinds):
    caffe, torchvision = both_kinds
    ours, theirs = caffe.layer2[0], torchvision.layer2[0]
    x = torch.randn(1, 256, 12, 12)
    with torch.no_grad():
        strided = theirs(x)
        theirs.conv2.stride = theirs.downsample[0].stride = (1, 1)
        torch.testing.assert_close(ours(x), theirs(x[:, :, ::2, ::2]))
        assert (ours(x) - strided).abs().max() > 1e-2, "the same weights, another network"


def test_an_unstrided_block_is_torchvision_s(both_kinds):
    caffe, torchvision = both_kinds
    x = torch.randn(1, 256, 8, 8)
    with torch.no_grad():
        assert torch.equal(caffe.layer1[1](x), torchvision.layer1[1](x))


def test_it_is_frozen_stays_in_eval_and_out_of_checkpoints(recognizer):
    assert not recognizer.train().training
    assert not any(module.training for module in recognizer.modules())
    assert not any(p.requires_grad for p in recognizer.parameters())
    assert not recognizer.state_dict()


def test_gradients_reach_the_picture(recognizer):
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    (grad,) = torch.autograd.grad(recognizer(image).feature.square().mean(), image)
    assert grad.abs().sum() > 0


def test_another_file_is_named(tmp_path, resnet_state):
    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"encoder.weight": torch.zeros(2)}}, path)
    with pytest.raises(
        ValueError, match=r"other\.ckpt: expected backbone\.conv1\.weight .* none among encoder\.weight"
    ):
        EmocaEmotionRecognizer(path)
    torch.save({"state_dict": {**resnet_state, "linear.weight": torch.zeros(7, 2048)}}, path)
    with pytest.raises(ValueError, match=r"expected linear\.weight of shape \(10, 2048\), got \(7, 2048\)"):
        EmocaEmotionRecognizer(path)
    torch.save({"state_dict": {**resnet_state, "backbone.extra": torch.zeros(1)}}, path)
    with pytest.raises(ValueError, match=r"also holds backbone\.extra"):
        EmocaEmotionRecognizer(path)
