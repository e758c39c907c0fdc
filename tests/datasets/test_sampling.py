"""Shares, order, and several processes of the balanced sampler."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data.distributed import DistributedSampler

from diffrig_emo.datasets.sampling import BalancedSampler

LABELS = [0] * 60 + [1] * 30 + [2] * 6


def test_classes_come_equally_often():
    order = list(BalancedSampler(LABELS))
    assert Counter(LABELS[i] for i in order) == {0: 32, 1: 32, 2: 32}


def test_no_face_comes_twice_before_all_of_its_group_came():
    times = Counter(BalancedSampler(LABELS))
    for group in range(3):
        of_group = [times[i] for i in range(len(LABELS)) if LABELS[i] == group]
        assert max(of_group) - min(of_group) <= 1


def test_shares_are_kept_and_a_share_of_zero_is_never_drawn():
    order = list(BalancedSampler(LABELS, shares=[3, 0, 1], num_samples=80))
    assert Counter(LABELS[i] for i in order) == {0: 60, 2: 20}


def test_negative_groups_are_never_drawn():
    assert sorted(BalancedSampler([-1, 0, -1, 0])) == [1, 3]


def test_epochs_differ_and_repeat():
    sampler = BalancedSampler(LABELS, seed=5)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert orders[0] == orders[2] != orders[1]
    assert orders[0] != list(BalancedSampler(LABELS, seed=6))


@settings(deadline=None, max_examples=40)
@given(
    groups=st.lists(st.integers(0, 4), min_size=8, max_size=60),
    processes=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_processes_share_one_order(groups, processes, epoch):
    samplers = [BalancedSampler(groups, num_replicas=processes, rank=rank) for rank in range(processes)]
    for sampler in samplers:
        sampler.set_epoch(epoch)
    parts = [list(sampler) for sampler in samplers]
    assert {len(part) for part in parts} == {len(groups) // processes} == {len(sampler) for sampler in samplers}
    together = Counter(groups[i] for part in parts for i in part)
    kinds = len(set(groups))
    total = len(groups) // processes * processes
    assert all(abs(together[group] - total / kinds) < 1 for group in set(groups))


def test_lightning_leaves_it_alone_in_distributed_training():
    # Lightning replaces what is no DistributedSampler, and would split the order a second time.
    assert isinstance(BalancedSampler(LABELS), DistributedSampler)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": [-1, -1]}, "groups: expected at least one face"),
        ({"groups": [0, 2], "shares": [1, 1, 1]}, "group 1 has a share of 1, but no face"),
        ({"groups": [0, 1], "shares": [1]}, "one for each of 2 groups, got 1"),
        ({"groups": [0, 1], "shares": [1, -1]}, "at least 0"),
        ({"groups": [0, 1], "shares": [1, np.nan]}, "at least 0"),
        ({"groups": [0], "num_replicas": 2}, "a face for each of 2 processes"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        BalancedSampler(**arguments)
