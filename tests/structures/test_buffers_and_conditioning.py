"""The order of the nine channels, and how conditions are merged."""

from __future__ import annotations

import pytest
import torch

from diffrig_emo.structures import Conditioning, PhysicalBuffers, StructError


def test_the_nine_channels_are_rendered_normal_albedo():
    def picture(value, channels=3):
        return torch.full((1, channels, 2, 2), float(value))

    buffers = PhysicalBuffers(rendered=picture(1), normal=picture(2), albedo=picture(3), mask=picture(9, channels=1))
    assert buffers.as_condition()[0, :, 0, 0].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_buffers_are_never_clamped():
    wild = torch.tensor([-2.0, 0.5, 3.0]).reshape(1, 3, 1, 1)
    buffers = PhysicalBuffers(rendered=wild, normal=wild, albedo=wild, mask=torch.ones(1, 1, 1, 1))
    assert torch.equal(buffers.as_condition()[:, :3], wild)


def test_merge_stacks_in_the_given_order():
    a = Conditioning(spatial=torch.zeros(2, 1, 4, 4), tokens=torch.zeros(2, 3, 8))
    b = Conditioning(spatial=torch.ones(2, 2, 4, 4), vectors={"v": torch.ones(2, 5)})
    c = Conditioning(vectors={"w": torch.ones(2, 6)}, tokens=torch.ones(2, 1, 8))
    merged = Conditioning.merge([a, b, c])
    assert merged.spatial[0, :, 0, 0].tolist() == [0, 1, 1]
    assert list(merged.vectors) == ["v", "w"]
    assert merged.tokens[0, :, 0].tolist() == [0, 0, 0, 1]


def test_merging_nothing_conditions_on_nothing():
    merged = Conditioning.merge([])
    assert merged.spatial is None
    assert merged.tokens is None
    assert not merged.vectors
    with pytest.raises(StructError, match="holds no tensor, so it has no batch size"):
        _ = merged.batch_size


def test_two_vectors_of_one_name_raise():
    part = Conditioning(vectors={"global": torch.zeros(1, 2)})
    with pytest.raises(StructError, match=r"vectors\['global'\] comes from two conditioners; rename one"):
        Conditioning.merge([part, part])


def test_merging_other_batch_sizes_raises():
    with pytest.raises(StructError, match="with batch = 2"):
        Conditioning.merge(
            [Conditioning(spatial=torch.zeros(2, 1, 4, 4)), Conditioning(vectors={"v": torch.ones(3, 5)})]
        )
