import pytest
import torch

from diffrig_emo.conditioning import ExpressionCodeConditioner
from diffrig_emo.diffusion import classifier_free_guidance

HAPPY = torch.tensor([0.0, 1, 0, 0, 0, 0, 0, 0])
UNKNOWN = torch.full((2, 2), torch.nan)


def batch(n=4, **more):
    return {"image": torch.rand(n, 3, 8, 8), **more}


def expression(conditioner, faces):
    return conditioner(faces).vectors["expression"]


@pytest.fixture
def seeing(recognizer):
    return ExpressionCodeConditioner(recognizer, feature_dim=6).eval()


@pytest.fixture
def told():
    """Without a recogniser, and with a null that can be told from zeros."""
    conditioner = ExpressionCodeConditioner().eval()
    with torch.no_grad():
        conditioner.null.copy_(torch.arange(10) + 100.0)
    return conditioner


def test_what_a_recogniser_sees(seeing, recognizer):
    faces = batch()
    seen, code = recognizer(faces["image"]), expression(seeing, faces)
    assert code.shape == (4, 16)
    torch.testing.assert_close(code[:, :6], seeing.project(seen.feature))
    torch.testing.assert_close(code[:, 6:14], seen.probabilities)
    torch.testing.assert_close(code[:, 14:], seen.va)


def test_the_recogniser_stays_frozen(seeing):
    seeing.train()
    assert not seeing.recognizer.training
    assert {name for name, p in seeing.named_parameters() if p.requires_grad} == {
        "null",
        "project.weight",
        "project.bias",
    }


def test_another_picture_s_expression(seeing):
    faces, others = batch(), batch()
    assert torch.equal(expression(seeing, {**faces, "target_image": others["image"]}), expression(seeing, others))


def test_a_picture_goes_before_a_label_where_it_can_be_seen(seeing, told):
    faces, others = batch(), batch()
    asked = faces | {"target_image": others["image"], "target_label": torch.full((4,), 2)}
    assert torch.equal(expression(seeing, asked), expression(seeing, others))
    assert expression(told, asked)[:, 2].tolist() == [1.0] * 4


def test_labels_and_va_without_a_recogniser(told):
    faces = batch(3, label=torch.tensor([1, -1, 2]), va=torch.tensor([[0.5, -0.5], [0.1, 0.2], [torch.nan] * 2]))
    code = expression(told, faces)
    assert torch.equal(code[0], torch.cat([HAPPY, torch.tensor([0.5, -0.5])]))
    assert torch.equal(code[1, :8], told.null[:8])  # nobody knows the label
    assert torch.equal(code[1, 8:], torch.tensor([0.1, 0.2]))
    assert torch.equal(code[2, 8:], told.null[8:])  # nor the valence
    assert torch.equal(expression(told, batch(1))[0], told.null)


def test_strength_goes_from_neutral_through_the_label_and_beyond(told):
    told.train()
    told.observe(
        batch(4, label=torch.tensor([0, 0, 1, 1]), va=torch.tensor([[0.0, 0], [0.2, 0], [0.4, 0.2], [0.6, 0]]))
    )
    told.eval()
    strength = torch.tensor([0.0, 0.5, 1.0, 2.0])
    code = expression(
        told, batch(label=torch.full((4,), 5), target_label=torch.ones(4).long(), target_strength=strength)
    )
    torch.testing.assert_close(code[:, 8], torch.tensor([0.1, 0.3, 0.5, 0.9]))  # the means are 0.1 and 0.5
    torch.testing.assert_close(code[:, 9], torch.tensor([0.0, 0.05, 0.1, 0.2]))
    torch.testing.assert_close(code[:, 1], torch.tensor([0.0, 0.5, 1.0, 1.0]))
    torch.testing.assert_close(code[:, :8].sum(dim=1), torch.ones(4))


def test_a_label_brings_the_mean_feature_of_its_faces(seeing, recognizer):
    faces = batch(6, label=torch.tensor([1, 1, 4, 4, 4, -1]))
    seeing.train()
    for part in (slice(0, 3), slice(3, 6)):  # the mean does not depend on batches
        seeing.observe({name: value[part] for name, value in faces.items()})
    seeing.eval()
    code = expression(seeing, batch(1, target_label=torch.tensor([4])))
    feature = recognizer(faces["image"][2:5]).feature.mean(dim=0)
    torch.testing.assert_close(code[0, :6], seeing.project(feature))
    assert torch.equal(expression(seeing, batch(1, target_label=torch.tensor([7])))[0, :6], seeing.null[:6])


def test_minus_one_and_nan_keep_the_face_s_own(seeing):
    faces = batch()
    own = expression(seeing, faces)
    kept = {"target_label": torch.full((4,), -1), "target_va": torch.full((4, 2), torch.nan)}
    assert torch.equal(expression(seeing, faces | kept | {"target_strength": torch.ones(4)}), own)
    changed = expression(seeing, faces | kept | {"target_label": torch.tensor([-1, 2, -1, -1])})
    assert (changed != own).any(dim=1).tolist() == [False, True, False, False]


def test_wanted_va_leaves_nothing_else_known_unless_a_label_does(told):
    va = torch.tensor([[0.7, 0.6], [0.7, 0.6]])
    faces = batch(2, label=torch.tensor([3, 3]), va=UNKNOWN, target_va=va, target_label=torch.tensor([-1, 1]))
    code = expression(told, faces)
    assert torch.equal(code[:, 8:], va)
    assert torch.equal(code[0, :8], told.null[:8])
    assert torch.equal(code[1, :8], HAPPY)


def test_parts_are_dropped_as_often_as_asked():
    conditioner = ExpressionCodeConditioner(dropout=0.2, part_dropout=0.5).train()
    with torch.no_grad():
        conditioner.null.fill_(100.0)
    faces = batch(4000, label=torch.ones(4000).long(), va=torch.zeros(4000, 2))
    dropped = expression(conditioner, faces)[:, [0, 8]] == 100
    assert dropped.float().mean(dim=0).tolist() == pytest.approx([0.6, 0.6], abs=0.04)  # 1 - 0.8 * 0.5
    assert dropped.all(dim=1).float().mean().item() == pytest.approx(0.4, abs=0.04)  # 0.2 + 0.8 * 0.25
    assert dropped[:, 0].any()
    assert not (expression(conditioner.eval(), faces) == 100).any()


def test_the_null_learns_and_guidance_leads_away_from_it():
    conditioner = ExpressionCodeConditioner(dropout=0.5).train()
    expression(conditioner, batch(64, label=torch.ones(64).long(), va=torch.zeros(64, 2))).square().sum().backward()
    assert conditioner.null.grad is not None
    conditioner.eval()
    faces = batch(2, label=torch.ones(2).long(), va=torch.zeros(2, 2))
    cond, uncond = conditioner(faces), conditioner.unconditional(faces)
    bound = [lambda x, t, c=c: x + c.vectors["expression"].sum() for c in (cond, uncond)]
    guided = classifier_free_guidance(*bound, 3.0)(torch.zeros(1), torch.zeros(1))
    torch.testing.assert_close(guided, 3 * cond.vectors["expression"].sum()[None])  # the null is zero at first


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ({"target_label": torch.tensor([8, 0])}, r"target_label: expected 0 to 7, or -1, got \[8, 0\]"),
        ({"target_label": torch.tensor([1])}, r"target_label: expected \(2,\) for 2 faces, got \(1,\)"),
        ({"target_va": torch.zeros(2)}, r"target_va: expected \(2, 2\) for 2 faces, got \(2,\)"),
        ({"target_strength": torch.tensor([-1.0, 1])}, r"target_strength: expected 0 or more"),
        ({"target_image": torch.zeros(2, 3, 8, 8)}, r"target_image: .* only by a recognizer"),
    ],
)
def test_bad_targets_are_named(told, targets, message):
    with pytest.raises(ValueError, match=message):
        told(batch(2, label=torch.tensor([0, 1]), **targets))


@pytest.mark.parametrize("settings", [{"feature_dim": 0}, {"dropout": 1.0}, {"part_dropout": -0.1}])
def test_bad_settings_are_named(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))}={next(iter(settings.values()))}"):
        ExpressionCodeConditioner(**settings)
