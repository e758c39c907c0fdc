import pytest
import torch

from diffrig_emo.morphable.code_vector import CodeVector
from diffrig_emo.structures import StructError


def test_rows_and_codes_are_one_another():
    rows = CodeVector(n_shape=4, n_tex=3, n_exp=2, space="s", cam_scale=7.0)
    numbers = torch.randn(5, rows.size, dtype=torch.float64)
    codes = rows.unpack(numbers)
    torch.testing.assert_close(rows.pack(codes), numbers)
    torch.testing.assert_close(
        codes.cam[:, 0].log(), 0.1 * numbers[:, 4 + 3 + 2 + 6] + torch.tensor(7.0).double().log()
    )
    torch.testing.assert_close(codes.exp, 0.5 * numbers[:, 7:9])


def test_codes_of_another_space_are_refused():
    rows = CodeVector(n_shape=1, n_tex=1, n_exp=1, space="s")
    with pytest.raises(StructError, match="space"):
        rows.pack(rows.unpack(torch.zeros(1, rows.size)).replace(space="other"))
