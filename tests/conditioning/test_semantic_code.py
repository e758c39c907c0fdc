"""The expression-specialised diffusion autoencoder starts as the one it is made from, and learns to look at e."""

import pytest
import torch
from torch import nn

from diffrig_emo.conditioning import (
    ExpressionCodeConditioner,
    ExpressionSubspace,
    ExpressiveSemanticConditioner,
    SemanticCodeConditioner,
)
from diffrig_emo.diffusion import ConditionedUNet, SemanticEncoder, VectorModulation, export_diffae

DIM = 24


class Linear(nn.Module):
    dim = DIM

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(3 * 8 * 8, DIM)

    def forward(self, image):
        return self.map(image.flatten(1))


def trained_unet():
    """As after training: nothing in it is zero."""
    torch.manual_seed(3)
    vector = VectorModulation("semantic", DIM, shift=False)
    unet = ConditionedUNet(vectors=[vector], image_size=8, base_channels=16, channel_mult=(1, 2), time_embed_dim=32)
    with torch.no_grad():
        for parameter in unet.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return unet.eval()


def joined(recognizer=None, join="both", subspace=None, encoder=None, **settings):
    expression = ExpressionCodeConditioner(recognizer, feature_dim=6, **settings)
    semantic = SemanticCodeConditioner(encoder or Linear())
    return ExpressiveSemanticConditioner(semantic, expression, DIM, join, subspace, hidden_dim=16)


def faces(n=4):
    return {"image": torch.rand(n, 3, 8, 8), "label": torch.arange(n) % 8, "va": torch.rand(n, 2)}


def test_the_code_of_signed_pictures():
    encoder = Linear()
    batch = faces()
    code = SemanticCodeConditioner(encoder)(batch).vectors
    torch.testing.assert_close(code["semantic"], encoder(batch["image"] * 2 - 1))
    frozen = SemanticCodeConditioner(encoder, frozen=True).train()
    assert not frozen.encoder.training
    assert not frozen(batch).vectors["semantic"].requires_grad


@torch.no_grad()
@pytest.mark.parametrize("join", ["residual", "modulation", "both"])
@pytest.mark.parametrize("amount", [None, 0.0])
def test_it_starts_as_the_plain_autoencoder_bit_for_bit(recognizer, join, amount):
    unet, x_t, t, batch = trained_unet(), torch.randn(4, 3, 8, 8), torch.tensor([0, 9, 500, 999]), faces()
    subspace = None if amount is None else ExpressionSubspace(DIM, amount=amount)
    conditioner = joined(recognizer, join, subspace)
    if subspace is not None:
        conditioner.train()(batch)  # the subspace learns, but takes nothing away
    conditioner.eval()
    plain = unet(x_t, t, conditioner.semantic(batch))
    if join != "residual":
        unet.add_vector(VectorModulation("expression", conditioner.expression.dim, zero_init=True))
    for wanted in (batch, {**batch, "target_image": torch.rand(4, 3, 8, 8)}):
        assert torch.equal(unet(x_t, t, conditioner(wanted)), plain)
    assert torch.equal(unet(x_t, t, conditioner.unconditional(batch)), plain)


def test_official_names_and_shapes_do_not_change():
    unet, encoder = trained_unet(), SemanticEncoder(8, 16, (1, 2), attention_resolutions=(), dim=DIM)
    before = export_diffae(unet, encoder)
    unet.add_vector(VectorModulation("expression", 5))
    after = export_diffae(unet, encoder)
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("join", ["residual", "modulation"])
def test_after_a_few_steps_the_output_depends_on_the_expression(join):
    conditioner, unet = joined(join=join, dropout=0.0, part_dropout=0.0).train(), trained_unet()
    if join == "modulation":
        unet.add_vector(VectorModulation("expression", conditioner.expression.dim, zero_init=True))
    parameters = [*unet.parameters(), *conditioner.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    x_t, t = torch.randn(4, 3, 8, 8), torch.tensor([100, 300, 500, 900])
    for _ in range(4):
        batch = faces()
        target = batch["va"][:, :1, None, None].expand_as(batch["image"])
        loss = (unet(x_t, t, conditioner(batch)) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        batch = faces()
        swapped = {**batch, "label": batch["label"].flip(0), "va": batch["va"].flip(0)}
        own, other = (unet(x_t, t, conditioner.eval()(faces)) for faces in (batch, swapped))
    assert ((own - other).abs().amax((1, 2, 3)) > 1e-4).all()


def test_the_spread_of_the_codes_scales_the_residual():
    subspace = ExpressionSubspace(DIM, amount=0.0)
    conditioner, batch = joined(join="residual", subspace=subspace, dropout=0.0, part_dropout=0.0), faces(64)
    nn.init.normal_(conditioner.residual[-1].weight)
    z = conditioner.semantic(batch).vectors["semantic"]
    code = conditioner.train()(batch).vectors["semantic"]
    e = conditioner.eval().expression(batch).vectors["expression"]
    torch.testing.assert_close(code, z + z.std(dim=0, correction=0) * conditioner.residual(e), rtol=1e-3, atol=1e-4)


def test_with_a_subspace_the_code_alone_does_not_tell_the_label(recognizer):
    subspace = ExpressionSubspace(DIM)
    conditioner, batch = joined(recognizer, "modulation", subspace), faces(128)
    with torch.no_grad():
        conditioner.train()(batch)
        conditioner.eval()
        p = recognizer(batch["image"]).probabilities[:, 1]
        whole = conditioner.semantic(batch).vectors["semantic"]
        code = conditioner(batch).vectors["semantic"]

    def correlation(z):
        return torch.corrcoef(torch.cat([z.T, p[None]]))[-1, :-1].abs().max()

    assert correlation(whole) > 0.1
    assert correlation(code) < 1e-3


def test_the_state_comes_back(recognizer, tmp_path):
    first, second = (joined(recognizer, "both", ExpressionSubspace(DIM)) for _ in range(2))
    batch = faces()
    first.train()(batch)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    wanted = {**batch, "target_label": torch.tensor([1, 2, 3, 3]), "target_strength": torch.full((4,), 0.7)}
    for name, vector in first.eval()(wanted).vectors.items():
        assert torch.equal(vector, second.eval()(wanted).vectors[name])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 512}, "dim is 512, but the encoder gives codes of 24"),
        ({"subspace": ExpressionSubspace(8)}, "dim is 24, .* the subspace is for codes of 8"),
        ({"hidden_dim": 0}, "hidden_dim must be at least 1, got 0"),
    ],
)
def test_parts_of_different_sizes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ExpressiveSemanticConditioner(
            SemanticCodeConditioner(Linear()), ExpressionCodeConditioner(), **{"dim": DIM} | settings
        )


def test_equal_names_are_refused():
    with pytest.raises(ValueError, match="both vectors are named 'semantic'"):
        ExpressiveSemanticConditioner(
            SemanticCodeConditioner(Linear()), ExpressionCodeConditioner(name="semantic"), DIM
        )
