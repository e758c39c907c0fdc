from __future__ import annotations

import torch

from diffrig_emo.transforms.ranges import to_signed, to_unit


def test_ends_and_middle():
    unit, signed = torch.tensor([0.0, 0.25, 0.5, 1.0]), torch.tensor([-1.0, -0.5, 0.0, 1.0])
    assert torch.equal(to_signed(unit), signed)
    assert torch.equal(to_unit(signed), unit)


def test_there_and_back_is_exact_for_8_bits():
    levels = (torch.arange(256) / 255).double()
    torch.testing.assert_close(to_unit(to_signed(levels)), levels, atol=1e-15, rtol=0)


def test_nothing_is_clamped():
    assert to_signed(torch.tensor(2.0)) == 3
    assert to_unit(torch.tensor(3.0)) == 2
