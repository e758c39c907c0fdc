import pytest
import torch
from torch import Tensor


@pytest.fixture
def soup():
    """Random triangles that overlap, cross the border and turn either way."""

    def make(batch: int, n_faces: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        centres = torch.rand(batch, n_faces, 1, 3, generator=generator, dtype=torch.float64) * 2.6 - 1.3
        reach = torch.rand(batch, n_faces, 1, 1, generator=generator, dtype=torch.float64) ** 3 + 0.02
        corners = torch.randn(batch, n_faces, 3, 3, generator=generator, dtype=torch.float64)
        return (centres + reach * corners).flatten(1, 2).to(dtype), torch.arange(3 * n_faces).view(n_faces, 3)

    return make
