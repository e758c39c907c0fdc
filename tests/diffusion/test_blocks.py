import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffrig_emo.diffusion.blocks import ModulatedGroupNorm, ResidualBlock, SelfAttention, TimeEmbedding, group_count


def randomised(module):
    """Zero-initialised layers would hide what the others do."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def plain_residual(block, x, time, vectors):
    """The block as its papers write it: one modulation after the other, nothing folded, nothing in place."""

    def norm(layer, h):
        return F.group_norm(h, min(32, h.shape[1]), layer.weight, layer.bias, 1e-5)

    def resample(h):
        if block.resampling == "down":
            return h.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
        if block.resampling == "up":
            return h.repeat_interleave(2, 2).repeat_interleave(2, 3)
        return h

    def modulate(h, code, layer):
        numbers = layer(code)[:, :, None, None]
        channels = h.shape[1]
        h = h * (1 + numbers[:, :channels])
        return h + numbers[:, channels:] if numbers.shape[1] == 2 * channels else h

    h = resample(norm(block.norm1, x) * torch.sigmoid(norm(block.norm1, x)))
    h = norm(block.norm2, block.conv1(h))
    h = modulate(h, time, block.time)
    for name, layer in block.vectors.items():
        h = modulate(h, vectors[name], layer)
    return block.conv2(h * torch.sigmoid(h)) + block.skip(resample(x))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("resampling", ["none", "down", "up"])
def test_folded_modulation_is_the_written_out_one(resampling, batch, memory_format):
    block = randomised(ResidualBlock(64, 32, 8, {"a": (5, True), "b": (6, False)}, resampling=resampling)).double()
    x = torch.randn(batch, 64, 6, 10, dtype=torch.float64).to(memory_format=memory_format)
    time, vectors = (
        torch.randn(batch, 8).double(),
        {"a": torch.randn(batch, 5).double(), "b": torch.randn(batch, 6).double()},
    )
    expected = plain_residual(block, x, time, vectors)
    kept = x.clone()
    torch.testing.assert_close(block(x, time, vectors), expected)
    with torch.no_grad():
        torch.testing.assert_close(block(x, time, vectors), expected.detach())
    assert torch.equal(x, kept), "the input must not be written to"


def test_gradients_through_folded_modulation():
    block = randomised(ResidualBlock(4, 6, 3, {"a": (2, True)})).double()
    x, time, a = (torch.randn(2, *s, dtype=torch.float64, requires_grad=True) for s in ((4, 4, 4), (3,), (2,)))
    assert torch.autograd.gradcheck(lambda x, time, a: block(x, time, {"a": a}), (x, time, a))


def test_the_first_vector_may_be_absent():
    block = randomised(ResidualBlock(8, 8, 4, {"a": (5, True), "b": (6, False)})).double()
    x, time, b = torch.randn(2, 8, 4, 4).double(), torch.randn(2, 4).double(), torch.randn(2, 6).double()
    silent = ResidualBlock(8, 8, 4, {"b": (6, False)}).double()
    silent.load_state_dict({k: v for k, v in block.state_dict().items() if ".a." not in k})
    torch.testing.assert_close(block(x, time, {"b": b}), silent(x, time, {"b": b}))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norm_is_computed_in_float32(dtype, batch):
    norm = ModulatedGroupNorm(64)
    x = (torch.randn(batch, 64, 16, 16) * 50 + 300).to(dtype)  # squares overflow float16
    scale, shift = torch.rand(batch, 64).to(dtype), torch.rand(batch, 64).to(dtype)
    exact = F.group_norm(x.double(), 32) * scale.double()[..., None, None] + shift.double()[..., None, None]
    torch.testing.assert_close(norm.to(dtype)(x, (scale, shift)), exact.to(dtype), rtol=1e-2, atol=1e-2)
    assert norm(x).dtype == dtype


@pytest.mark.parametrize("num_heads", [1, 4])
def test_attention_is_the_written_out_softmax(num_heads):
    attention = randomised(SelfAttention(32, num_heads)).double()
    x = torch.randn(2, 32, 3, 5, dtype=torch.float64)
    tokens = F.group_norm(x, 32, attention.norm.weight, attention.norm.bias).flatten(2)
    qkv = torch.einsum("oc,bcl->bol", attention.qkv.weight, tokens) + attention.qkv.bias[:, None]
    width, gathered = 32 // num_heads, []
    for head in qkv.split(3 * width, dim=1):
        q, k, v = head.split(width, dim=1)
        weights = torch.softmax(torch.einsum("bcl,bcm->blm", q, k) / math.sqrt(width), dim=-1)
        gathered.append(torch.einsum("blm,bcm->bcl", weights, v))
    out = torch.einsum("oc,bcl->bol", attention.proj.weight, torch.cat(gathered, 1)) + attention.proj.bias[:, None]
    torch.testing.assert_close(attention(x), x + out.view_as(x))


def test_time_embedding_has_cosines_first_and_integer_steps():
    embedding = TimeEmbedding(6, 4)
    t = torch.tensor([0, 7, 999])
    angles = t[:, None] * torch.tensor([1.0, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3)])
    inner = embedding.linear1(torch.cat([angles.cos(), angles.sin()], dim=1))
    torch.testing.assert_close(embedding(t), embedding.linear2(inner * inner.sigmoid()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 8, 24, 32, 48, 80, 96, 128, 1024])
def test_groups_divide_the_channels(channels):
    groups = group_count(channels)
    assert channels % groups == 0
    if channels % min(32, channels) == 0:
        assert groups == min(32, channels)
