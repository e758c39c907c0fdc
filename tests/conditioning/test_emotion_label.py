import pytest
import torch

from diffrig_emo.conditioning import EmotionLabelConditioner


def test_a_vector_or_a_token_of_the_label():
    label = torch.tensor([0, 7, -1])
    vector = EmotionLabelConditioner(dim=6).eval()
    got = vector({"label": label}).vectors["emotion"]
    assert torch.equal(got, torch.stack([vector.embedding.weight[0], vector.embedding.weight[7], vector.null]))
    token = EmotionLabelConditioner(dim=6, form="token").eval()
    token.load_state_dict(vector.state_dict())
    conditioning = token({"label": label})
    assert torch.equal(conditioning.tokens, got[:, None])
    assert not conditioning.vectors


def test_the_wanted_label_goes_before_the_face_s_own():
    conditioner = EmotionLabelConditioner(dim=6).eval()
    batch = {"label": torch.tensor([0, 3, -1]), "target_label": torch.tensor([5, -1, 2])}
    got = conditioner(batch).vectors["emotion"]
    assert torch.equal(got, conditioner.embedding(torch.tensor([5, 3, 2])))
    assert torch.equal(conditioner({"target_label": torch.tensor([5])}).vectors["emotion"], got[:1])
    weight = conditioner.embedding.weight
    batch["target_strength"] = torch.tensor([0.0, 1.0, 2.0])
    expected = torch.stack([weight[0], weight[3], 2 * weight[2] - weight[0]])
    torch.testing.assert_close(conditioner(batch).vectors["emotion"], expected)


@pytest.mark.parametrize("per", ["sample", "batch"])
def test_the_null_takes_labels_places_in_training(per):
    conditioner = EmotionLabelConditioner(dim=2, dropout=0.2, dropout_per=per).train()
    rounds = 2000 if per == "batch" else 20
    label = torch.zeros(100, dtype=torch.long)
    null = [(conditioner({"label": label}).vectors["emotion"] == conditioner.null).all(dim=1) for _ in range(rounds)]
    shares = torch.stack(null).float().mean(dim=1)
    assert shares.mean().item() == pytest.approx(0.2, abs=0.04)
    assert ((shares == 0) | (shares == 1)).all().item() == (per == "batch")
    assert not (conditioner.eval()({"label": label}).vectors["emotion"] == conditioner.null).all()


def test_full_dropout_makes_the_output_independent_of_the_label_and_trains_the_null():
    conditioner = EmotionLabelConditioner(dim=4, form="token", dropout=1.0).train()
    out = conditioner({"label": torch.tensor([1, 6])})
    assert torch.equal(out.tokens[0], out.tokens[1])
    assert torch.equal(out.tokens, conditioner.unconditional({"label": torch.tensor([1, 6])}).tokens)
    out.tokens.sum().backward()
    assert torch.equal(conditioner.null.grad, torch.full((4,), 2.0))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"label: expected 0 to 7, or -1, got \[8\]"):
        EmotionLabelConditioner(dim=2)({"label": torch.tensor([8])})
    with pytest.raises(ValueError, match="needs `label` or `target_label`"):
        EmotionLabelConditioner(dim=2)({"image": torch.zeros(1, 3, 8, 8)})
    with pytest.raises(ValueError, match=r"dropout=1\.5"):
        EmotionLabelConditioner(dropout=1.5)
