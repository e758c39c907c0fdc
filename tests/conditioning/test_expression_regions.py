import pytest
import torch
from scipy.optimize import lsq_linear

from diffrig_emo.conditioning.expression_regions import REGIONS, expression_basis, region_weights, transfer_region
from diffrig_emo.morphable import SyntheticHead
from diffrig_emo.structures import FaceCodes, StructError
from tests.fakes import FakeHead, fake_codes


@pytest.fixture(scope="module")
def head():
    return SyntheticHead()


def codes_of(head, *names, jaw=0.0):
    codes = FaceCodes.zeros(1, n_shape=head.n_shape, n_tex=30, n_exp=head.n_exp, space=head.space)
    pose = torch.zeros(1, 6)
    pose[0, 3] = jaw
    return codes.replace(exp=head.expression_codes(*names)[None], pose=pose)


def test_the_basis_is_the_models_own(head):
    torch.testing.assert_close(expression_basis(head), head.expression_directions, atol=1e-7, rtol=0)
    fake = FakeHead()
    torch.testing.assert_close(expression_basis(fake), fake.basis[4:].permute(1, 2, 0), atol=1e-7, rtol=0)


@pytest.mark.parametrize("model", [SyntheticHead, FakeHead])
def test_the_regions_share_out_the_whole_head(model):
    model = model()
    parts = torch.stack([region_weights(model, [region]) for region in REGIONS])
    assert parts.min() >= 0
    torch.testing.assert_close(parts.sum(dim=0), torch.ones(parts.shape[1]))
    mesh = model(FaceCodes.zeros(1, n_shape=model.n_shape, n_tex=1, n_exp=model.n_exp, space=model.space))
    if isinstance(model, SyntheticHead):
        for row, name in enumerate(("mouth", "lids_left", "brows")):
            assert parts[row, model.regions[name]].mean() > 0.8
        chin = (mesh.vertices[0] - mesh.landmarks3d[0, 8]).norm(dim=1).argmin()
        assert parts[0, chin] > 0.99


def test_it_is_the_least_squares_solution(head):
    source, target = codes_of(head, "frown"), codes_of(head, "smile", "brow_raise", "lids_widen", jaw=0.2)
    weight, basis = region_weights(head, ["mouth"]).double(), head.expression_directions.double()
    columns, change = basis.flatten(0, 1), (target.exp - source.exp)[0].double()
    moved = (weight[:, None] * (basis @ change)).flatten()
    ridge = 1e-3 * columns.square().sum(0).mean()
    share = (weight[:, None, None] * basis.square()).sum((0, 1)) / basis.square().sum((0, 1))
    stacked = torch.cat([columns, ridge.sqrt() * torch.eye(head.n_exp)])
    wanted = lsq_linear(stacked.numpy(), torch.cat([moved, ridge.sqrt() * share * change]).numpy(), method="bvls").x
    edited = transfer_region(source, target, head, ["mouth"])
    torch.testing.assert_close(edited.exp[0] - source.exp[0], torch.from_numpy(wanted).float(), atol=1e-4, rtol=0)


def test_what_is_far_from_the_region_stays(head):
    source, target = codes_of(head, "frown"), codes_of(head, "smile", "brow_raise", "lids_widen", jaw=0.2)
    before, goal = (head(c.replace(pose=torch.zeros(1, 6))).vertices[0] for c in (source, target))
    for region, inside, outside in (
        ("mouth", "lips", "brows"),
        ("brows", "brows", "lips"),
        ("eyes", "lids_left", "lips"),
    ):
        edited = transfer_region(source, target, head, [region])
        after = head(edited.replace(pose=torch.zeros(1, 6))).vertices[0]
        near, far = head.regions[inside], head.regions[outside]
        missed = (after - goal)[near].norm(dim=1).mean() / (before - goal)[near].norm(dim=1).mean()
        assert missed < 0.35, region
        assert (after - before)[far].norm(dim=1).mean() < 0.15 * (goal - before)[far].norm(dim=1).mean(), region
        assert torch.equal(edited.jaw_pose, (target if region == "mouth" else source).jaw_pose)


def test_all_regions_are_the_whole_expression():
    head, source, target = FakeHead(), fake_codes(3), fake_codes(3, 1)
    edited = transfer_region(source, target, head, ["eyes", "mouth", "brows"])
    torch.testing.assert_close(edited.exp, target.exp, atol=1e-5, rtol=0)
    assert torch.equal(edited.jaw_pose, target.jaw_pose)
    assert torch.equal(edited.shape, source.shape)
    assert torch.equal(edited.global_rotation, source.global_rotation)


def test_bad_requests(head):
    source = codes_of(head)
    with pytest.raises(ValueError, match=r"expected one or more of mouth, eyes, brows, got \['nose'\]"):
        transfer_region(source, source, head, ["nose"])
    with pytest.raises(ValueError, match="one or more"):
        region_weights(head, [])
    with pytest.raises(StructError, match="two batches of one size"):
        transfer_region(source, source[[0, 0]], head, ["eyes"])
