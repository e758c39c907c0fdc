from __future__ import annotations

import pytest
import torch
from torch.nn.functional import grid_sample

from diffrig_emo.morphable.base import TextureModel
from diffrig_emo.morphable.synthetic_head import SyntheticHead, SyntheticTexture
from diffrig_emo.morphable.synthetic_head.geometry import ISLANDS, build_geometry


@pytest.fixture(scope="module")
def head() -> SyntheticHead:
    return SyntheticHead()


@pytest.fixture(scope="module")
def texture() -> SyntheticTexture:
    return SyntheticTexture()


def colours(head: SyntheticHead, texture: SyntheticTexture, region: str, **values: float) -> torch.Tensor:
    """Albedo (N, 3) at the vertices of a region."""
    tex = torch.tensor([[values.get(name, 0.0) for name in texture.texture_names]])
    corner = torch.isin(head.faces, head.regions[region]).all(dim=1)
    uv = head.uvs[head.uv_faces[corner].flatten().unique()]
    grid = torch.stack([uv[:, 0] * 2 - 1, 1 - uv[:, 1] * 2], dim=-1)[None, None]
    return grid_sample(texture(tex), grid, align_corners=False)[0, :, 0].T


def test_is_a_texture_model_of_bounded_colours(texture):
    assert isinstance(texture, TextureModel)
    assert texture.n_tex == len(set(texture.texture_names)) >= 20
    mean = texture(torch.zeros(2, texture.n_tex))
    assert mean.shape == (2, 3, 256, 256)
    assert mean.min() >= 0
    assert mean.max() <= 1
    people = texture(torch.randn(16, texture.n_tex, generator=torch.Generator().manual_seed(0)))
    outside = ((people < -0.05) | (people > 1.05)).float().mean()
    assert outside < 0.03


def test_size_is_an_argument():
    small, large = SyntheticTexture(size=64), SyntheticTexture(size=128)
    a, b = small(torch.zeros(1, small.n_tex)), large(torch.zeros(1, large.n_tex))
    assert a.shape[-1] == 64
    # Same painting at both sizes, up to what a coarser grid loses.
    assert (torch.nn.functional.avg_pool2d(b, 2) - a).abs().mean() < 0.02
    with pytest.raises(ValueError, match="size"):
        SyntheticTexture(size=8)


def test_features_have_their_colours(head, texture):
    face, lips = colours(head, texture, "face").mean(0), colours(head, texture, "lips").median(0).values
    assert lips[0] - lips[1] > face[0] - face[1] + 0.05, "lips are redder than the face"
    assert colours(head, texture, "scalp").mean() < 0.6 * face.mean(), "hair is darker"
    assert colours(head, texture, "brows").mean() < 0.9 * face.mean()
    eye = colours(head, texture, "eyes")
    assert eye.min() < 0.1, "pupil"
    assert eye.max() > 0.85, "white"
    assert colours(head, texture, "teeth").max() > 0.85
    assert colours(head, texture, "mouth").median() < 0.35, "the mouth's inside is dark"


def test_named_directions_do_what_they_say(head, texture):
    assert colours(head, texture, "face", skin_tone=1.0).mean() < colours(head, texture, "face").mean() - 0.05
    assert torch.equal(colours(head, texture, "eyes", skin_tone=1.0), colours(head, texture, "eyes"))
    blue = (colours(head, texture, "eyes", eye_blue=1.0) - colours(head, texture, "eyes"))[:, 2]
    assert blue.max() > 0.05
    assert colours(head, texture, "scalp", hair_lightness=1.0).mean() > colours(head, texture, "scalp").mean() + 0.04
    assert torch.equal(colours(head, texture, "teeth", stubble=1.0), colours(head, texture, "teeth"))


def test_directions_are_linearly_independent(texture):
    directions = texture.directions.flatten(1).double()
    unit = directions / directions.norm(dim=1, keepdim=True)
    assert torch.linalg.svdvals(unit).min() > 0.02


def test_is_linear_and_differentiable(texture):
    tex = torch.randn(1, texture.n_tex, generator=torch.Generator().manual_seed(1), requires_grad=True)
    mean = texture(torch.zeros_like(tex))
    assert torch.allclose(texture(2 * tex) - mean, 2 * (texture(tex) - mean), atol=1e-5)
    texture(tex).square().sum().backward()
    assert (tex.grad != 0).all()


def test_texture_coordinates_stay_on_their_islands(head):
    assert head.uvs.min() >= 0
    assert head.uvs.max() <= 1
    geometry = build_geometry()
    for name, (u0, v0, u1, v1) in ISLANDS.items():
        corner = (torch.tensor(geometry.part == name)[head.faces]).all(dim=1)
        uv = head.uvs[head.uv_faces[corner].flatten()]
        assert (uv[:, 0] >= u0 - 1e-6).all()
        assert (uv[:, 0] <= u1 + 1e-6).all()
        assert (uv[:, 1] >= v0 - 1e-6).all()
        assert (uv[:, 1] <= v1 + 1e-6).all()


def test_codes_of_another_size_raise(texture):
    with pytest.raises(ValueError, match=r"tex: expected \(batch"):
        texture(torch.zeros(2, 3))
