"""Textures from photographs whose true texture is known: renderings of the synthetic head."""

from __future__ import annotations

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from diffrig_emo.morphable import SyntheticHead, SyntheticTexture
from diffrig_emo.renderer import BufferRenderer, mirrored_texels, photo_texture, resample_to_uv
from diffrig_emo.structures import FaceCodes

UV = 256


@pytest.fixture(scope="module")
def head():
    return SyntheticHead()


@pytest.fixture(scope="module")
def texture():
    return SyntheticTexture(UV)


@pytest.fixture(scope="module")
def mirror(head, texture):
    return mirrored_texels(head(zeros(head, texture)).vertices[0], head.topology, UV)


def zeros(head, texture):
    return FaceCodes.zeros(1, n_shape=head.n_shape, n_tex=texture.n_tex, n_exp=head.n_exp, space=head.space)


@pytest.fixture(scope="module")
def person(head, texture):
    """Codes with a smile, and the true albedo: unlike the mean, and unlike itself mirrored."""
    generator = torch.Generator().manual_seed(1)
    codes = zeros(head, texture).replace(
        shape=torch.randn(1, head.n_shape, generator=generator),
        tex=torch.randn(1, texture.n_tex, generator=generator),
        exp=0.5 * head.expression_codes("smile")[None],
        cam=torch.tensor([[7.5, 0.002, 0.02]]),
    )
    return codes, texture(codes.tex)


def photograph(head, codes, albedo, size=512):
    return BufferRenderer(size)(head(codes), head.topology, albedo, codes).rendered


def turned(codes, yaw):
    return codes.replace(pose=torch.tensor([[0, yaw, 0, 0, 0, 0]]))


def psnr(truth, found, where):
    where = where.expand_as(truth)
    return peak_signal_noise_ratio(truth[where].numpy(), found[where].numpy(), data_range=1)


@pytest.mark.parametrize("yaw", [0.0, 0.5])
def test_seen_texels_are_the_true_texture(head, texture, person, yaw):
    codes, truth = turned(person[0], yaw), person[1]
    found = photo_texture(
        photograph(head, codes, truth), head(codes), head.topology, texture.mean[None], codes, uv_size=UV
    )
    seen = found.weight > 0.99
    assert seen.float().mean() > 0.25
    assert psnr(truth, found.lit, seen) > 34
    assert psnr(truth, texture.mean[None], seen) < 25  # the model's albedo, from which nothing of this comes
    dark = seen & (truth.amax(dim=1, keepdim=True) < 0.8)
    assert psnr(found.lit, found.albedo, dark) > 60  # in this light they are the same


def test_light_is_divided_out(head, texture, person):
    codes, truth = person
    light = 0.6 * codes.light
    light[:, 1:4] += torch.tensor([[0.3, 0.25, 0.2], [0.15, 0.15, 0.15], [0.1, 0.15, 0.2]])
    codes = codes.replace(light=light)
    photo = photograph(head, codes, truth)
    found = photo_texture(photo, head(codes), head.topology, texture.mean[None], codes, uv_size=UV)
    seen = found.weight > 0.99
    assert psnr(truth, found.albedo, seen) > 32
    assert psnr(truth, found.lit, seen) < 20
    # Shown without shading, it is the photograph again, wherever that was seen; both eyes have one place on this map.
    flat = zeros(head, texture).replace(cam=codes.cam)
    again, share = (
        BufferRenderer(512)(head(codes), head.topology, values.expand(-1, 3, -1, -1), flat).rendered
        for values in (found.lit, found.weight)
    )
    below = slice(270, None)
    sure = share[:, :1, below] > 0.99
    assert sure.float().mean() > 0.1
    assert psnr(photo[:, :, below], again[:, :, below], sure) > 30


def test_burnt_colours_tell_nothing_about_other_light(head, texture, person):
    """A lamp from the side, and a camera that clips: the albedo must not take the clipped colours for skin."""
    codes, truth = person
    light = codes.light.clone()
    light[:, 1] += torch.tensor([1.6, 1.3, 1.0])
    codes = codes.replace(light=light)
    photo = photograph(head, codes, truth)
    unclipped, found = (
        photo_texture(picture, head(codes), head.topology, texture.mean[None], codes, uv_size=UV)
        for picture in (photo, photo.clamp(0, 1))
    )
    burnt = (found.weight > 0.99) & (unclipped.lit.amax(dim=1, keepdim=True) > 1.2)
    assert burnt.float().mean() > 0.02
    clipped = truth * unclipped.lit.clamp(max=1) / unclipped.lit
    assert psnr(truth, found.albedo, burnt) > psnr(truth, clipped, burnt) + 1
    assert psnr(unclipped.lit.clamp(max=1), found.lit, burnt) > 34  # the photograph is shown as it is all the same


def test_the_hidden_side_is_the_mirror_image_of_the_other(head, texture, person, mirror):
    codes, truth = turned(person[0], 0.7), person[1]
    arguments = (photograph(head, codes, truth), head(codes), head.topology, texture.mean[None], codes)
    alone, both = photo_texture(*arguments, uv_size=UV), photo_texture(*arguments, uv_size=UV, mirror=mirror)
    filled = (both.mirrored > 0.99) & (alone.weight < 0.01)
    assert filled.float().mean() > 0.04
    assert psnr(truth, both.lit, filled) > 28  # this texture is symmetric
    assert psnr(truth, both.lit, filled) > psnr(truth, alone.lit, filled) + 3
    assert torch.equal(alone.weight, both.weight)


def test_no_texel_takes_what_lies_before_it(head, texture, person):
    """Visibility against every triangle, in float64, by the definition."""
    codes = turned(person[0], 0.6)
    mesh = head(codes)
    photo = torch.zeros(1, 3, 512, 512)
    weight = photo_texture(photo, mesh, head.topology, texture.mean[None], codes, uv_size=UV).weight[0, 0]
    places = resample_to_uv(mesh.vertices, head.topology, UV)[0].double().flatten(1).T
    a, b, c = (mesh.vertices[0, head.faces[:, k]].double() for k in range(3))
    texels = torch.randperm(UV * UV, generator=torch.Generator().manual_seed(0))
    seen = texels[weight.flatten()[texels] > 0.5][:150]
    hidden_in_front = 0
    for texel in seen:
        x, y, z = places[texel]

        def edge(p, q, x=x, y=y):
            return (x - p[:, 0]) * (q[:, 1] - p[:, 1]) - (y - p[:, 1]) * (q[:, 0] - p[:, 0])

        w = torch.stack([edge(b, c), edge(c, a), edge(a, b)], dim=1)
        inside = (w > 0).all(1) | (w < 0).all(1)
        depth = (w * torch.stack([a[:, 2], b[:, 2], c[:, 2]], dim=1)).sum(1) / w.sum(1)
        hidden_in_front += bool((depth[inside] > z + 0.005).any())  # +z is towards the camera
    assert len(seen) == 150
    assert hidden_in_front == 0


def test_background_never_gets_into_the_texture(head, texture, person):
    codes, truth = person
    buffers = BufferRenderer(512)(head(codes), head.topology, truth, codes)
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    pictures = [buffers.rendered + (1 - buffers.mask) * ground for ground in (0 * red, red)]
    black, on_red = (
        photo_texture(picture, head(codes), head.topology, texture.mean[None], codes, uv_size=UV)
        for picture in pictures
    )
    assert (on_red.lit - black.lit).abs().max() < 0.02


def test_a_region_and_the_margin(head, texture, person):
    codes, truth = person
    photo = photograph(head, codes, truth)
    region = torch.zeros(UV, UV)
    region[:, UV // 2 :] = 1
    found = photo_texture(photo, head(codes), head.topology, texture.mean[None], codes, uv_size=UV, region=region)
    assert found.weight[..., : UV // 2].max() == 0
    assert found.weight[..., UV // 2 :].max() > 0.99
    steps = found.weight[0, 0, 80:110].diff(dim=1).abs()
    assert steps[:, UV // 2 - 10 : UV // 2 + 10].max() < 0.35  # a seam, no cut
    assert torch.isfinite(found.lit).all()
    assert found.lit.amin() > -0.05


def test_a_finer_picture_and_a_crop(head, texture, person):
    """The camera may belong to a crop of a smaller picture: `tform` says which."""
    codes, truth = person
    photo = photograph(head, codes, truth)
    plain = photo_texture(photo, head(codes), head.topology, texture.mean[None], codes, uv_size=UV)
    # The crop is the whole picture of 256 pixels, seen as 224.
    codes = codes.replace(tform=torch.diag(torch.tensor([0.875, 0.875, 1.0]))[None])
    cropped = photo_texture(photo, head(codes), head.topology, texture.mean[None], codes, uv_size=UV, aligned_size=256)
    assert (cropped.lit - plain.lit).abs().max() < 1e-3


def test_mirrored_texels(head, texture, mirror):
    vertices = head(zeros(head, texture)).vertices
    places = resample_to_uv(vertices, head.topology, UV)[0].flatten(1).T
    known = (mirror >= 0).flatten()
    assert known.float().mean() > 0.5
    away = (places[known] * torch.tensor([-1.0, 1.0, 1.0]) - places[mirror.flatten()[known]]).norm(dim=1)
    assert away.max() < 0.003
    face = mirror[60:200, 40:216]  # on this chart the face's mirror image is the picture's
    columns = torch.arange(40, 216).expand_as(face)
    assert (UV - 1 - columns - face % UV)[face >= 0].abs().float().mean() < 0.5


def test_misfits_are_named(head, texture, person):
    codes, truth = person
    mesh = head(codes)
    photo = torch.zeros(2, 3, 32, 32)
    with pytest.raises(ValueError, match="expected one batch size, got photo 2, mesh 1, albedo 1, codes 1"):
        photo_texture(photo, mesh, head.topology, truth, codes)
    away = codes.replace(cam=torch.tensor([[7.5, 9.0, 0.0]]))
    with pytest.raises(ValueError, match="expected every face in its photograph"):
        photo_texture(photo[:1], mesh, head.topology, truth, away, uv_size=64)


def test_a_batch_is_its_items(head, texture, person):
    codes, truth = person
    both = FaceCodes.cat([codes, turned(codes, 0.4)])
    photos = torch.cat([photograph(head, one, truth, 64) for one in both])
    albedo = texture.mean[None].expand(2, -1, -1, -1)
    together = photo_texture(photos, head(both), head.topology, albedo, both, uv_size=64)
    for i, one in enumerate(both):
        alone = photo_texture(photos[i : i + 1], head(one), head.topology, albedo[:1], one, uv_size=64)
        torch.testing.assert_close(together.lit[i : i + 1], alone.lit, atol=1e-4, rtol=1e-4)
