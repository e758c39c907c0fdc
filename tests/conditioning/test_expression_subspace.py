import numpy as np
import pytest
import torch

from diffrig_emo.conditioning import ExpressionSubspace


def faces(n=600, dim=20, seed=0):
    """Codes in which two mixed directions, among correlated ones, tell the expression."""
    g = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 3, (n,), generator=g)
    probabilities = torch.nn.functional.one_hot(label, 8).float()
    va = torch.stack([label - 1.0, (label == 1).float()], dim=1) * 0.5
    z = torch.randn(n, dim, generator=g) @ torch.randn(dim, dim, generator=g)
    z = z + probabilities @ torch.randn(8, dim, generator=g) * 6 + 5
    return z, probabilities, va, label


def probe_r2(z, y):
    """What least squares, from NumPy, explains of y."""
    a = np.c_[z.double().numpy(), np.ones(len(z))]
    y = y.double().numpy()
    rest = y - a @ np.linalg.lstsq(a, y, rcond=1e-4)[0]  # rounding is no signal
    return 1 - (rest**2).sum() / ((y - y.mean(0)) ** 2).sum()


def test_no_linear_probe_finds_the_expression_in_neutralised_codes():
    z, probabilities, va, _ = faces()
    y = torch.cat([probabilities[:, :3], va], dim=1)
    subspace = ExpressionSubspace(20)
    subspace.learn(z, probabilities, va)
    assert probe_r2(z, y) > 0.5
    assert probe_r2(subspace(z), y) < 1e-6
    assert (subspace.basis.norm(dim=0) > 0.5).sum() == 2  # three labels span two directions, and va lies within
    torch.testing.assert_close(subspace.mean, z.mean(dim=0))
    torch.testing.assert_close(subspace.std, z.std(dim=0, correction=0))


def test_only_the_subspace_moves_and_all_come_to_the_mean_neutral_face():
    z, probabilities, va, label = faces()
    subspace = ExpressionSubspace(20)
    subspace.learn(z, probabilities, va)
    q = subspace.basis
    before, after = ((x - subspace.mean) / subspace.std for x in (z, subspace(z)))
    torch.testing.assert_close(before - before @ q @ q.T, after - after @ q @ q.T, rtol=0, atol=1e-4)
    neutral = (before[label == 0] @ q).mean(dim=0)
    torch.testing.assert_close(after @ q, neutral.expand(600, -1), rtol=0, atol=1e-4)
    torch.testing.assert_close(subspace.toward(subspace(z), torch.zeros(600).long()), subspace(z), rtol=0, atol=1e-4)


def test_a_code_edited_to_an_emotion_lies_where_its_faces_do():
    z, probabilities, va, label = faces()
    subspace = ExpressionSubspace(20)
    subspace.learn(z, probabilities, va)
    happy = torch.ones(600).long()
    wanted = (z[label == 1].mean(dim=0) - subspace.mean) / subspace.std @ subspace.basis
    for amount in (0.5, 1.0):
        edited = (subspace.toward(z, happy, amount) - subspace.mean) / subspace.std @ subspace.basis
        start = (z - subspace.mean) / subspace.std @ subspace.basis
        torch.testing.assert_close(edited, start + amount * (wanted - start), rtol=0, atol=1e-4)


def test_batches_average_to_the_whole_and_unknown_faces_do_not_count():
    z, probabilities, va, _ = faces()
    whole, parts = ExpressionSubspace(20), ExpressionSubspace(20)
    whole.learn(z, probabilities, va)
    for i in range(0, 600, 100):
        unknown = torch.full((1, 8), torch.nan)
        parts.learn(
            torch.cat([z[i : i + 100], torch.full((1, 20), 1e6)]),
            torch.cat([probabilities[i : i + 100], unknown]),
            torch.cat([va[i : i + 100], torch.zeros(1, 2)]),
        )
    parts.learn(z[:1], torch.full((1, 8), torch.nan), va[:1])
    assert parts.num_batches == 6
    torch.testing.assert_close(parts.moments, whole.moments, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(parts(z), whole(z), rtol=1e-3, atol=1e-3)


def test_momentum_forgets():
    z, probabilities, va, _ = faces()
    subspace = ExpressionSubspace(20, momentum=0.5)
    for shift in [0.0] + 30 * [100.0]:
        subspace.learn(z + shift, probabilities, va)
    torch.testing.assert_close(subspace.mean, z.mean(dim=0) + 100, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("subspace", [ExpressionSubspace(20), ExpressionSubspace(20, amount=0.0)])
def test_nothing_learnt_or_no_amount_leaves_codes_bit_for_bit(subspace):
    z, probabilities, va, _ = faces()
    if subspace.amount == 0:
        subspace.learn(z, probabilities, va)
    assert torch.equal(subspace(z), z)


def test_the_amount_rises_over_the_warmup():
    z, probabilities, va, _ = faces()
    full, rising = ExpressionSubspace(20), ExpressionSubspace(20, warmup=4)
    full.learn(z, probabilities, va)
    rising.learn(z, probabilities, va)
    torch.testing.assert_close(rising(z) - z, (full(z) - z) / 4, rtol=1e-3, atol=1e-4)


def test_codes_keep_their_gradient_and_other_precisions_their_dtype():
    z, probabilities, va, _ = faces()
    subspace = ExpressionSubspace(20)
    subspace.learn(z, probabilities, va)
    leaf = z.clone().requires_grad_()
    subspace(leaf).square().sum().backward()
    assert leaf.grad.abs().sum() > 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert subspace(z.bfloat16()).dtype == torch.bfloat16
        subspace.learn(z.bfloat16(), probabilities, va)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"expected codes of \(batch, 20\), got \(3, 19\)"):
        ExpressionSubspace(20)(torch.zeros(3, 19))
    for settings in ({"dim": 0}, {"amount": 1.5}, {"warmup": -1}, {"momentum": 0.0}):
        ((name, value),) = settings.items()
        with pytest.raises(ValueError, match=f"{name}={value}"):
            ExpressionSubspace(**settings)
