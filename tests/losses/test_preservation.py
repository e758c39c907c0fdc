import pytest
import torch

from diffrig_emo.losses.preservation import UNITS, PreservationLoss, code_distances, measure_floor
from diffrig_emo.structures import StructError
from tests.fakes import fake_codes


def test_distances_are_those_of_the_written_out_formula():
    a, b = fake_codes(3, 0), fake_codes(3, 1)
    distances = code_distances(a, b)
    assert distances.keys() == UNITS.keys()
    torch.testing.assert_close(distances["shape"], (a.shape - b.shape).square().mean(1))
    torch.testing.assert_close(distances["jaw_pose"], (a.pose[:, 3:] - b.pose[:, 3:]).square().mean(1) * 100)
    torch.testing.assert_close(distances["light"], 4 * (a.light - b.light).square().mean((1, 2)))


def test_what_was_kept_and_reached_costs_nothing_else_costs_its_own_group():
    source, target = fake_codes(2, 0), fake_codes(2, 1)
    edit = source.replace(exp=target.exp, pose=torch.cat([source.global_rotation, target.jaw_pose], dim=1))
    loss = PreservationLoss()
    assert all(not value.any() for value in loss(source, edit, target).values())
    drifted = loss(source, edit.replace(shape=edit.shape + 0.5), target)
    torch.testing.assert_close(drifted["shape"], torch.full((2,), 0.25))
    missed = loss(source, source, target)
    assert missed["exp"].min() > 0
    assert not missed["shape"].any()


def test_the_floor_of_true_pairs_is_not_chased():
    before, after, target = fake_codes(4, 0), fake_codes(4, 1), fake_codes(4, 2)
    floor = measure_floor(before, after, target)
    excess = PreservationLoss(floor=dict.fromkeys(floor, 1000000000.0))(before, after, target)
    assert all(not value.any() for value in excess.values())
    plain, raised = PreservationLoss()(before, after, target), PreservationLoss(floor=floor)(before, after, target)
    assert raised["shape"].mean() < plain["shape"].mean()
    assert floor["exp"] == pytest.approx(float(code_distances(after, target)["exp"].mean()))
    assert floor["shape"] == pytest.approx(float(code_distances(after, before)["shape"].mean()))


def test_bad_settings_and_foreign_codes_are_refused():
    with pytest.raises(ValueError, match="'beta' is no group"):
        PreservationLoss(floor={"beta": 0.1})
    with pytest.raises(ValueError, match="weight of exp"):
        PreservationLoss(exp=-1.0)
    with pytest.raises(StructError, match="space"):
        PreservationLoss()(fake_codes(1), fake_codes(1).replace(space="other"), fake_codes(1))
