"""The network of LPIPS against the `lpips` package with the same trunk, and the formula written out."""

from __future__ import annotations

import warnings
from pathlib import Path

import lpips
import pytest
import torch
from torch.nn import functional as F
from torchvision.models import alexnet, vgg16

from diffrig_emo.metrics import LPIPS
from diffrig_emo.perception import LPIPSNetwork
from diffrig_emo.utils import Skipped, unless_missing

HEADS = Path(lpips.__file__).parent / "weights" / "v0.1"
NAMES = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}


def trunk_state(kind):
    """A trunk as torchvision saves it, with random convolutions, and a classifier that takes no room."""
    with torch.device("meta"):
        shapes = {name: t.shape for name, t in {"alex": alexnet, "vgg": vgg16}[kind](weights=None).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        if name.startswith("features."):
            fan_in = shape[1:].numel() if len(shape) == 4 else 10
            state[name] = torch.randn(shape, generator=generator) * (2 / fan_in) ** 0.5
        else:
            state[name] = torch.zeros(()).expand(shape)
    return state


@pytest.fixture(scope="module", params=["alex", "vgg"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def state(kind):
    return trunk_state(kind)


@pytest.fixture(scope="module")
def path(kind, state, tmp_path_factory):
    path = tmp_path_factory.mktemp("trunk") / NAMES[kind]
    torch.save(state, path)
    return path


@pytest.fixture
def pictures():
    return torch.rand(2, 3, 3, 48, 40, generator=torch.Generator().manual_seed(1))


def test_it_is_the_packages_with_the_same_trunk(kind, state, path, pictures):
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        theirs = lpips.LPIPS(net=kind, pretrained=False, pnet_rand=True, verbose=False)
    theirs.load_state_dict(torch.load(HEADS / f"{kind}.pth", map_location="cpu"), strict=False, assign=True)
    trunk = {name: state[f"features.{name.partition('.')[2]}"] for name in theirs.net.state_dict()}
    theirs.net.load_state_dict(trunk, assign=True)
    a, b = pictures
    with torch.no_grad():
        wanted = theirs(2 * a - 1, 2 * b - 1).flatten()
        torch.testing.assert_close(LPIPSNetwork(path)(a, b), wanted)
    assert wanted.min() > 1e-3


def test_it_is_the_formula_of_the_paper(tmp_path, pictures):
    """Equation 1: features of unit length, squared differences weighted by channel, averaged over space, summed."""
    state = trunk_state("alex")
    torch.save(state, tmp_path / NAMES["alex"])
    heads = torch.load(HEADS / "alex.pth", map_location="cpu")

    def layers(x):
        x = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        for number, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
            if number in (3, 6):
                x = F.max_pool2d(x, 3, 2)
            x = F.relu(
                F.conv2d(x, state[f"features.{number}.weight"], state[f"features.{number}.bias"], stride, padding)
            )
            yield x / x.norm(dim=1, keepdim=True).clamp(min=1e-10)

    wanted = torch.zeros(3)
    for i, (a, b) in enumerate(zip(*(layers(p) for p in pictures), strict=True)):
        weights = heads[f"lin{i}.model.1.weight"].flatten()
        wanted += torch.einsum("bchw,c->bhw", (a - b).square(), weights).mean(dim=(1, 2))
    # The package normalises by rounded numbers.
    torch.testing.assert_close(LPIPSNetwork(tmp_path)(*pictures), wanted, rtol=0.02, atol=0)


def test_equal_pictures_have_no_distance_and_noise_has_more_the_more_it_is(path, pictures):
    network = LPIPSNetwork(path)
    a = pictures[0]
    noise = pictures[1] - 0.5
    assert network(a, a).abs().max() == 0
    assert (network(a, (a + 0.1 * noise).clamp(0, 1)) < network(a, (a + noise).clamp(0, 1))).all()


def test_it_is_frozen_stays_in_eval_out_of_checkpoints_and_lets_gradients_through(path, pictures):
    network = LPIPSNetwork(path)
    assert not any(module.training for module in network.train().modules())
    assert not any(p.requires_grad for p in network.parameters())
    assert not network.state_dict()
    a = pictures[0].clone().requires_grad_()
    (grad,) = torch.autograd.grad(network(a, pictures[1]).sum(), a)
    assert grad.abs().sum() > 0


def test_the_metric_averages_it(path, pictures):
    network = LPIPSNetwork(path)
    metric = LPIPS(network)
    metric.update(pictures[0][:1], pictures[1][:1])
    metric.update(pictures[0][1:], pictures[1][1:])
    torch.testing.assert_close(metric.compute(), network(*pictures).mean())


def test_building_it_draws_no_random_numbers_and_loads_nothing_from_elsewhere(path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a download")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    state = torch.get_rng_state()
    LPIPSNetwork(path)
    assert torch.equal(state, torch.get_rng_state())


def test_the_trunk_is_found_in_pytorchs_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(trunk_state("alex"), folder / NAMES["alex"])
    assert isinstance(LPIPSNetwork(), LPIPSNetwork)


def test_without_a_trunk_it_is_skipped_with_the_reason(tmp_path):
    with pytest.raises(FileNotFoundError, match="alexnet-owt"):
        LPIPSNetwork(tmp_path)
    skipped = unless_missing("LPIPS", LPIPSNetwork)
    assert isinstance(skipped, Skipped)
    for part in ("LPIPS: skipped, because alexnet-owt-*.pth was not found in", "hub/checkpoints", "Where to get it"):
        assert part in str(skipped)


def test_another_file_is_named_not_used(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    with pytest.raises(ValueError, match=r"resnet\.pth: expected torchvision's AlexNet or VGG-16, .* got none"):
        LPIPSNetwork(path)
    torch.save({**trunk_state("alex"), "features.3.weight": torch.zeros(5)}, path)
    with pytest.raises(ValueError, match=r"expected features\.3\.weight of shape \(192, 64, 5, 5\), got \(5,\)"):
        unless_missing("LPIPS", lambda: LPIPSNetwork(path))
    path.write_bytes(b"torn")
    with pytest.raises(ValueError, match="truncated or damaged"):
        LPIPSNetwork(path)


def test_bad_pictures_are_named(tmp_path, pictures):
    torch.save(trunk_state("alex"), tmp_path / NAMES["alex"])
    network = LPIPSNetwork(tmp_path)
    with pytest.raises(ValueError, match=r"pred: expected a float tensor .* at least 32 x 32 pixels, got float32"):
        network(pictures[0][..., :20], pictures[1][..., :20])
    with pytest.raises(ValueError, match="pred and target: expected equal shapes"):
        network(pictures[0], pictures[1][:2])
