"""Background, hair, glasses, skin, camera and the rigid motion that carries them."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from diffrig_emo.renderer import vertex_normals
from diffrig_emo.synthesis.background import Background
from diffrig_emo.synthesis.camera import decode_jpeg, encode_jpeg, expose
from diffrig_emo.synthesis.clothes import Clothes, ClothesMesh
from diffrig_emo.synthesis.draws import generator
from diffrig_emo.synthesis.glasses import Glasses, GlassesMesh
from diffrig_emo.synthesis.hair import Hair
from diffrig_emo.synthesis.rigid import rigid_motion
from diffrig_emo.synthesis.skin import Skin


def one_shape(geometry):
    return Background(
        gradient=torch.zeros(1, 2, 3),
        angle=torch.zeros(1),
        geometry=torch.tensor([[geometry]]),
        paint=torch.ones(1, 1, 4),
    )


@pytest.mark.parametrize(
    ("geometry", "area"),
    [
        ((0.1, -0.2, 0.5, 0.5, 0.5, 0.0, 0.02), math.pi * 0.25),
        ((0.0, 0.0, 0.6, 0.3, 0.0, 0.7, 0.02), 4 * 0.18),
        ((0.0, 0.0, 0.6, 0.3, 0.1, 0.7, 0.02), 4 * 0.18 - (4 - math.pi) * 0.01),
    ],
)
def test_shapes_have_the_area_of_rounded_boxes(geometry, area):
    covered = one_shape(geometry).render(200)[0, 0].mean() * 4
    assert float(covered) == pytest.approx(area, rel=0.01)


def test_backgrounds_look_the_same_at_every_size():
    backgrounds = Background.cat([Background.draw(generator(1, "background", i)) for i in range(12)])
    small, large = backgrounds.render(24), backgrounds.render(96)
    assert (small - torch.nn.functional.avg_pool2d(large, 4)).abs().mean() < 0.01
    assert large.flatten(1).std(1).min() > 0.005


def test_rigid_motion_recovers_a_rotation():
    rng = np.random.default_rng(2)
    points = rng.normal(size=(4, 20, 3))
    turns, offsets = Rotation.random(4, rng=rng).as_matrix(), rng.normal(size=(4, 1, 3))
    moved = points @ turns.transpose(0, 2, 1) + offsets
    rotation, offset = rigid_motion(torch.from_numpy(points), torch.from_numpy(moved))
    np.testing.assert_allclose(rotation, turns, atol=1e-10)
    np.testing.assert_allclose(offset, offsets, atol=1e-10)


def test_rigid_motion_never_mirrors():
    points = torch.randn(1, 30, 3, dtype=torch.float64)
    rotation, _ = rigid_motion(points, points * points.new_tensor([-1.0, 1.0, 1.0]))
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(1, dtype=torch.float64))


def test_curtain_of_hair_faces_outwards(faces):
    studio = faces._studio
    sitters = faces._sitters([0])
    hair = Hair.draw(generator(0, "hair", 0), np.zeros(3)).replace(curtain=torch.tensor([[0.2, 1.2, 1.1, 0.0]]))
    skin = len(studio.hair_mesh._skin)
    mesh = studio.face_model(sitters[0].codes)
    points = studio.hair_mesh.curtain(hair, mesh.vertices)
    sheet = studio.hair_mesh.faces[(studio.hair_mesh.faces >= skin).all(1)] - skin
    normals = vertex_normals(points, sheet)
    from_axis = (points - points.new_tensor([0.0, 0.0, -0.012])) * points.new_tensor([1.0, 0.0, 1.0])
    assert ((normals * from_axis).sum(-1) > 0).float().mean() > 0.95


def test_bald_shell_stays_under_the_skin(faces):
    studio = faces._studio
    mesh = studio.face_model(faces.codes([0]))
    normals = vertex_normals(mesh.vertices, studio.face_model.topology.faces)
    hair = Hair.draw(generator(0, "hair", 0), np.zeros(3))
    bald = hair.replace(thickness=torch.full((1, 3), -0.01), curtain=torch.tensor([[-1.0, 1.0, 1.0, 0.0]]))
    shell = studio.hair_mesh.shell(bald, mesh.vertices, normals)
    skin = studio.hair_mesh._skin
    lift = ((shell - mesh.vertices[:, skin]) * normals[:, skin]).sum(-1)
    assert lift.max() < 0
    assert studio.hair_mesh.curtain(bald, mesh.vertices).abs().min() > 50  # parked out of every picture
    thick = studio.hair_mesh.shell(hair.replace(thickness=torch.full((1, 3), 0.02)), mesh.vertices, normals)
    assert ((thick - mesh.vertices[:, skin]) * normals[:, skin]).sum(-1).max() > 0.015


def test_glasses_surround_the_eyes(faces):
    studio, mesh = faces._studio, GlassesMesh()
    landmarks = studio.face_model(faces.codes([0, 2]).replace(pose=torch.zeros(2, 6))).landmarks3d
    glasses = Glasses.cat([Glasses.draw(generator(0, "glasses", i)) for i in (0, 1)])
    points = mesh.vertices(glasses.replace(worn=torch.tensor([1.0, 0.0])), landmarks)
    assert points.shape[1] == mesh.n_vertices
    assert points[1].abs().min() > 50
    for eye, lens in ((slice(36, 42), mesh.lens_faces[:28]), (slice(42, 48), mesh.lens_faces[28:])):
        rim = points[0, lens.unique()]
        inside = landmarks[0, eye]
        assert (rim[:, :2].amin(0) < inside[:, :2].amin(0)).all()
        assert (rim[:, :2].amax(0) > inside[:, :2].amax(0)).all()
        assert rim[:, 2].mean() > inside[:, 2].mean()


def test_clothes_face_outwards():
    mesh = ClothesMesh()
    points = mesh.vertices(Clothes.draw(generator(0, "clothes", 0)))
    normals = vertex_normals(points, mesh.faces)
    from_axis = (points - points.new_tensor([0.0, 0.0, -0.03])) * points.new_tensor([1.0, 0.0, 1.0])
    assert ((normals * from_axis).sum(-1) > 0).all()


def test_spots_darken_the_skin_where_they_sit():
    skin = Skin.draw(generator(0, "skin", 0), np.array([[0.5, 0.5]]))
    spots = torch.zeros_like(skin.spots)
    spots[0, 0] = torch.tensor([0.25, 0.75, 0.02, 0.5])
    skin = skin.replace(spots=spots, blotches=torch.zeros_like(skin.blotches))
    grid = torch.tensor([[[[-0.5, -0.5], [-0.5, 0.5], [0.5, -0.5]]]])  # v points down here
    painted = skin.paint(torch.ones(1, 3, 1, 3), grid)[0, :, 0]
    torch.testing.assert_close(painted[:, 1:], torch.ones(3, 2), atol=1e-6, rtol=0)
    assert painted[1, 0] == pytest.approx(0.5, abs=0.02)
    assert painted[0, 0] > painted[1, 0] > painted[2, 0]


def test_jpeg_is_what_pillow_reads():
    image = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    data = encode_jpeg(image, 90)
    with Image.open(io.BytesIO(data)) as file:
        reference = torch.from_numpy(np.array(file)).permute(2, 0, 1) / 255
    torch.testing.assert_close(decode_jpeg(data), reference, atol=2.1 / 255, rtol=0)
    with pytest.raises(ValueError, match="expected a JPEG file"):
        decode_jpeg(b"no picture")


def test_camera_noise_depends_on_the_picture_alone():
    grey = torch.full((3, 64, 64), 0.5)
    first, again, other = expose(grey, 0, 1), expose(grey, 0, 1), expose(grey, 0, 2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.0005 < (first - grey).std() < 0.02
