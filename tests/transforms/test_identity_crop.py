"""ArcFace's crop against scikit-image's least-squares similarity."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.transform import SimilarityTransform

from diffrig_emo.transforms.identity_crop import (
    ARCFACE_POINTS,
    align_to_arcface,
    arcface_tform,
    cut_ffhq_face,
    five_points,
)


@pytest.fixture
def landmarks():
    """Faces of 68 points, turned, scaled, shifted and out of shape."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(6, 68, 2, generator=generator) * 4
    for i, (angle, scale) in enumerate(zip(torch.linspace(-3, 3, 6), torch.linspace(0.4, 5, 6), strict=True)):
        rotation = scale * torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
        places = torch.tensor(ARCFACE_POINTS) @ rotation.T + torch.tensor([80.0, -30.0])
        points[i, 36:42] += places[0]
        points[i, 42:48] += places[1]
        points[i, [30, 48, 54]] += places[2:]
    return points


def skimage_similarity(points):
    template = np.array(ARCFACE_POINTS)
    if hasattr(SimilarityTransform, "from_estimate"):
        return SimilarityTransform.from_estimate(points, template).params
    transform = SimilarityTransform()
    transform.estimate(points, template)
    return transform.params


def test_five_points_are_eyes_nose_and_mouth():
    points = torch.zeros(1, 68, 2)
    points[0, :, 0] = torch.arange(68)
    assert five_points(points)[0, :, 0].tolist() == [38.5, 44.5, 30, 48, 54]


def test_tform_is_scikit_images_estimate(landmarks):
    for points, tform in zip(five_points(landmarks).double().numpy(), arcface_tform(landmarks), strict=True):
        np.testing.assert_allclose(tform.numpy(), skimage_similarity(points), atol=2e-4, rtol=1e-5)


def test_a_mirrored_face_is_not_mirrored_back(landmarks):
    mirrored = landmarks * torch.tensor([-1.0, 1.0])
    assert (torch.linalg.det(arcface_tform(mirrored)[:, :2, :2]) > 0).all()


def test_marks_on_a_picture_come_where_arcface_has_them():
    """Bright spots at the eyes of a turned, larger face lie at the template's eyes in the crop."""
    template = torch.tensor(ARCFACE_POINTS, dtype=torch.float64)
    rotation = 1.7 * torch.tensor([[0.9848, -0.1736], [0.1736, 0.9848]], dtype=torch.float64)
    places = template @ rotation.T + torch.tensor([60.0, 20.0])
    rows, columns = torch.meshgrid(torch.arange(300.0), torch.arange(300.0), indexing="ij")
    image = sum(torch.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18) for x, y in places[:2].tolist())
    points = torch.zeros(1, 68, 2)
    points[0, 36:42], points[0, 42:48] = places[0].float(), places[1].float()
    points[0, [30, 48, 54]] = places[2:].float()
    crop = align_to_arcface(image.expand(1, 3, -1, -1), points)
    assert crop.shape == (1, 3, 112, 112)
    for half, (x, y) in zip((crop[0, 0, :, :56], crop[0, 0, :, 56:]), template[:2].tolist(), strict=True):
        brightest = divmod(int(half.argmax()), 56)
        assert brightest[0] == pytest.approx(y, abs=0.6)
        assert brightest[1] + (56 if x > 56 else 0) == pytest.approx(x, abs=0.6)


def test_ffhqs_cut_is_psps_at_256_and_the_same_part_of_other_sizes():
    image = torch.rand(1, 3, 256, 256)
    assert torch.equal(cut_ffhq_face(image), image[:, :, 35:223, 32:220])
    assert cut_ffhq_face(torch.zeros(1, 3, 512, 512)).shape == (1, 3, 376, 376)
    assert cut_ffhq_face(torch.zeros(1, 3, 64, 64)).shape == (1, 3, 47, 47)


def test_gradients_reach_the_picture(landmarks):
    image = torch.rand(6, 3, 40, 40, requires_grad=True)
    (grad,) = torch.autograd.grad(align_to_arcface(image, landmarks / 5).sum(), image)
    assert grad.abs().sum() > 0


def test_points_that_are_no_face_are_named(landmarks):
    with pytest.raises(ValueError, match=r"landmarks: expected a tensor of shape \(batch, 68, 2\), got \(6, 5, 2\)"):
        arcface_tform(landmarks[:, :5])
    landmarks[2] = 1.0
    with pytest.raises(ValueError, match="in different places, got none in item 2"):
        arcface_tform(landmarks)
    landmarks[2] = float("nan")
    with pytest.raises(ValueError, match=r"expected finite eyes, nose and mouth .* in item 2"):
        arcface_tform(landmarks)
