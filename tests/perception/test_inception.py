"""FID's Inception against torch-fidelity's network, with seeded weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from diffrig_emo.metrics import FID
from diffrig_emo.perception import InceptionFeatures
from diffrig_emo.perception.inception import inception_v3_compat, resize_like_tensorflow
from diffrig_emo.utils import Skipped, unless_missing

extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
NAME = "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """torch-fidelity's network; it insists on a file, which here holds one number a tensor."""
    with torch.device("meta"):
        shapes = {name: (t.shape, t.dtype) for name, t in inception_v3_compat().state_dict().items()}
    path = tmp_path_factory.mktemp("empty") / NAME
    torch.save({name: torch.zeros((), dtype=dtype).expand(shape) for name, (shape, dtype) in shapes.items()}, path)
    network = extractor.FeatureExtractorInceptionV3(
        "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(path)
    )
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * (2 / fan_in) ** 0.5)
        elif isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.running_var, 0.5, 1.5),
                (module.bias, -0.1, 0.1),
            ):
                tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))
    return network


@pytest.fixture(scope="module")
def path(theirs, tmp_path_factory):
    path = tmp_path_factory.mktemp("fid") / NAME
    torch.save(theirs.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def network(path):
    return InceptionFeatures(path)


def test_names_and_shapes_are_torch_fidelitys(theirs):
    """Torch-fidelity and pytorch-fid read one file, strictly, by these names."""
    with torch.device("meta"):
        ours = inception_v3_compat().state_dict()
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.state_dict().items()}


def test_features_are_torch_fidelitys(theirs, network):
    bytes_ = torch.randint(0, 256, (2, 3, 40, 56), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    (wanted,) = theirs(bytes_)
    features = network(bytes_ / 255)
    assert features.shape == (2, 2048)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(features, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


def test_pictures_are_taken_as_8_bits(network):
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    assert torch.equal(network(image), network((image * 255).round() / 255))


@pytest.mark.parametrize("size", [(7, 9), (64, 48), (299, 299), (320, 310)])
def test_resizing_is_tensorflows(size):
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as theirs

    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(3)) * 255
    torch.testing.assert_close(
        resize_like_tensorflow(image, 299), theirs(image, size=(299, 299), align_corners=False), rtol=0, atol=2e-3
    )


def test_it_is_frozen_stays_in_eval_and_out_of_checkpoints(network):
    metric = FID(network)
    assert not any(module.training for module in metric.train().network.modules())
    assert not any(p.requires_grad for p in network.parameters())
    assert not any("network" in name for name in metric.state_dict())


def test_it_is_found_in_pytorchs_cache_under_either_name(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "pt_inception-2015-12-05-6726825d.pth").symlink_to(path)
    assert isinstance(unless_missing("FID", InceptionFeatures), InceptionFeatures)


def test_without_its_file_it_is_skipped_and_another_file_is_named(tmp_path):
    assert isinstance(unless_missing("FID", InceptionFeatures), Skipped)
    path = tmp_path / NAME
    torch.save({"fc.weight": torch.zeros(1000, 2048)}, path)
    with pytest.raises(ValueError, match=r"expected Conv2d_1a_3x3\.conv\.weight of shape \(32, 3, 3, 3\), got none"):
        InceptionFeatures(path)


def test_bad_pictures_are_named(network):
    with pytest.raises(ValueError, match=r"image: expected a float tensor of shape .* got uint8 \(1, 3, 8, 8\)"):
        network(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
