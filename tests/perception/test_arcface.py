"""IR-SE50 in InsightFace_Pytorch's layout: names, sizes, and the network written out from its weights."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from diffrig_emo.metrics import CSIM
from diffrig_emo.perception import ArcFaceEmbedder
from diffrig_emo.perception.arcface import IRSE50
from diffrig_emo.utils import Skipped, unless_missing

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
STAGES = [(64, 64, 3), (64, 128, 4), (128, 256, 14), (256, 512, 3)]


def blocks():
    """Input width, output width and stride of each of the 24 blocks."""
    for before, after, count in STAGES:
        yield before, after, 2
        yield from [(after, after, 1)] * (count - 1)


def layout():
    """Names and shapes of `model_ir_se50.pth`, written down from the repository's own network."""

    def norm(name, width):
        return {f"{name}.{part}": (width,) if part != "num_batches_tracked" else () for part in NORM}

    shapes = {"input_layer.0.weight": (64, 3, 3, 3), **norm("input_layer.1", 64), "input_layer.2.weight": (64,)}
    for i, (before, after, _) in enumerate(blocks()):
        name = f"body.{i}"
        if before != after:
            shapes |= {
                f"{name}.shortcut_layer.0.weight": (after, before, 1, 1),
                **norm(f"{name}.shortcut_layer.1", after),
            }
        shapes |= {
            **norm(f"{name}.res_layer.0", before),
            f"{name}.res_layer.1.weight": (after, before, 3, 3),
            f"{name}.res_layer.2.weight": (after,),
            f"{name}.res_layer.3.weight": (after, after, 3, 3),
            **norm(f"{name}.res_layer.4", after),
            f"{name}.res_layer.5.fc1.weight": (after // 16, after, 1, 1),
            f"{name}.res_layer.5.fc2.weight": (after, after // 16, 1, 1),
        }
    shapes |= {**norm("output_layer.0", 512), "output_layer.3.weight": (512, 25088), "output_layer.3.bias": (512,)}
    return shapes | norm("output_layer.4", 512)


@pytest.fixture(scope="module")
def state():
    """Seeded weights that keep the signal's size."""
    generator = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in layout().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(1)
        elif name.endswith("running_var"):
            state[name] = 0.5 + torch.rand(shape, generator=generator)
        elif len(shape) > 1:
            fan_in = torch.Size(shape[1:]).numel()
            state[name] = torch.randn(shape, generator=generator) * fan_in**-0.5
        elif name.endswith("weight"):
            state[name] = 0.2 + 0.6 * torch.rand(shape, generator=generator)
        else:
            state[name] = 0.1 * torch.randn(shape, generator=generator)
    return state


@pytest.fixture(scope="module")
def path(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("arcface") / "model_ir_se50.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def embedder(path):
    return ArcFaceEmbedder(path)


@pytest.fixture(scope="module")
def faces():
    return torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(1))


def written_out(state, x):
    def norm(x, name):
        mean, var, weight, bias = (state[f"{name}.{n}"] for n in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=1e-5)

    def prelu(x, name):
        return torch.where(x > 0, x, x * state[name].view(-1, 1, 1))

    x = F.conv2d((x - 0.5) / 0.5, state["input_layer.0.weight"], padding=1)
    x = prelu(norm(x, "input_layer.1"), "input_layer.2.weight")
    for i, (before, after, stride) in enumerate(blocks()):
        name = f"body.{i}"
        y = F.conv2d(norm(x, f"{name}.res_layer.0"), state[f"{name}.res_layer.1.weight"], padding=1)
        y = prelu(y, f"{name}.res_layer.2.weight")
        y = F.conv2d(y, state[f"{name}.res_layer.3.weight"], stride=stride, padding=1)
        y = norm(y, f"{name}.res_layer.4")
        squeezed = F.relu(F.conv2d(F.adaptive_avg_pool2d(y, 1), state[f"{name}.res_layer.5.fc1.weight"]))
        y = y * torch.sigmoid(F.conv2d(squeezed, state[f"{name}.res_layer.5.fc2.weight"]))
        x = x[:, :, ::stride, ::stride]
        if before != after:
            x = norm(F.conv2d(x, state[f"{name}.shortcut_layer.0.weight"]), f"{name}.shortcut_layer.1")
        x = x + y
    x = norm(x, "output_layer.0").flatten(1)
    x = F.linear(x, state["output_layer.3.weight"], state["output_layer.3.bias"])
    x = norm(x, "output_layer.4")
    return x / x.norm(dim=1, keepdim=True)


def test_names_and_shapes_are_those_of_the_file():
    with torch.device("meta"):
        state = IRSE50().state_dict()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == layout()


def test_it_is_the_network_written_out(embedder, state, faces):
    with torch.no_grad():
        embedding = embedder(faces)
        wanted = written_out(state, faces)
    assert (wanted[0] - wanted[1]).norm() > 1e-3
    torch.testing.assert_close(embedding, wanted, rtol=0, atol=1e-5)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))


def test_other_sizes_are_averaged_to_112(embedder, faces):
    with torch.no_grad():
        large = faces.repeat_interleave(2, 2).repeat_interleave(2, 3)
        torch.testing.assert_close(embedder(large), embedder(faces), rtol=0, atol=1e-5)


def test_csim_by_it_knows_a_picture_and_lets_gradients_through(embedder, faces):
    metric = CSIM(embedder)
    metric.update(faces, faces)
    assert metric.compute().item() == pytest.approx(1, abs=1e-5)
    face = faces[:1].clone().requires_grad_()
    (grad,) = torch.autograd.grad(embedder(face)[0, 0], face)
    assert grad.abs().sum() > 0


def test_files_without_counters_of_batches_are_read(state, path, tmp_path):
    old = tmp_path / "old.pth"
    torch.save({n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}, old)
    embedder = ArcFaceEmbedder(old)
    assert torch.equal(embedder.network.output_layer[3].weight, state["output_layer.3.weight"])


def test_it_is_frozen_stays_in_eval_and_out_of_checkpoints(embedder):
    assert not any(module.training for module in embedder.train().modules())
    assert not any(p.requires_grad for p in embedder.parameters())
    assert not embedder.state_dict()


def test_another_file_is_named_and_none_is_skipped(tmp_path):
    assert isinstance(unless_missing("CSIM", ArcFaceEmbedder), Skipped)
    one = {name: torch.zeros(()).expand(shape) for name, shape in layout().items()}  # takes no room
    path = tmp_path / "model_ir_se50.pth"
    torch.save({**one, "head.kernel": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"also holds head\.kernel, which the expected network has not"):
        ArcFaceEmbedder(path)
    torch.save({n: t for n, t in one.items() if n != "body.3.shortcut_layer.0.weight"}, path)
    with pytest.raises(ValueError, match=r"expected body\.3\.shortcut_layer\.0\.weight .* got none among input_layer"):
        ArcFaceEmbedder(path)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return eval, ("1 + 1",)

    path = tmp_path / "model_ir_se50.pth"
    torch.save({"input_layer.0.weight": Hostile()}, path)
    with pytest.raises(ValueError, match="refused"):
        ArcFaceEmbedder(path)


def test_bad_pictures_are_named(embedder):
    with pytest.raises(ValueError, match=r"image: expected a float tensor of shape .* got float32 \(3, 112, 112\)"):
        embedder(torch.zeros(3, 112, 112))
