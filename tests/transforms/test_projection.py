from __future__ import annotations

import numpy as np
import torch
from skimage.transform import SimilarityTransform

from diffrig_emo.transforms.crop import crop_tform
from diffrig_emo.transforms.projection import crop_to_aligned, project


def test_projection_by_hand():
    points = torch.tensor([[[0.1, 0.2, 0.3]], [[-0.1, 0.0, 0.0]]])
    cam = torch.tensor([[2.0, 0.5, -0.5], [10.0, 0.0, 0.1]])
    expected = torch.tensor([[[1.2, 0.6, -0.6]], [[-1.0, -1.0, 0.0]]])
    torch.testing.assert_close(project(points, cam), expected)


def test_up_and_near():
    screen = project(torch.tensor([[[0.0, 0.1, 0.0], [0.0, -0.1, 0.1]]]), torch.tensor([[5.0, 0.0, 0.0]]))[0]
    assert screen[0, 1] < screen[1, 1]  # what is up in the world is up in the picture
    assert screen[1, 2] < screen[0, 2]  # what is towards the camera is nearer


def test_crop_to_aligned_against_the_specification():
    tform = crop_tform(torch.tensor([[70.0, 80.0, 190.0, 200.0]]))
    aligned = crop_to_aligned(torch.tensor([[[0.0, 0.0, 7.0]]]), tform, 224, (256, 256))
    torch.testing.assert_close(aligned, torch.tensor([[[0.0185153, 0.0966403, 7.0]]]), atol=1e-6, rtol=0)


def test_crop_to_aligned_of_a_turned_crop_and_a_wide_picture():
    similarity = SimilarityTransform(scale=1.3, rotation=0.3, translation=(-20, 11))
    screen = np.random.default_rng(0).uniform(-1, 1, (6, 3))
    pixels = similarity.inverse((screen[:, :2] + 1) / 2 * 100)
    expected = np.concatenate([pixels / (90, 60) * 2 - 1, screen[:, 2:]], axis=1)
    tform = torch.from_numpy(similarity.params)[None]
    actual = crop_to_aligned(torch.from_numpy(screen)[None], tform, 100, (60, 90))
    torch.testing.assert_close(actual[0], torch.from_numpy(expected))


def test_items_do_not_mix():
    points, cam = torch.randn(3, 5, 3), torch.rand(3, 3) + 0.5
    tform = crop_tform(torch.tensor([[10.0, 10, 90, 80], [0, 0, 50, 60], [30, 20, 100, 100]]))
    together = crop_to_aligned(project(points, cam), tform, 224, (64, 48))
    for i in range(3):
        alone = crop_to_aligned(project(points[i : i + 1], cam[i : i + 1]), tform[i : i + 1], 224, (64, 48))
        torch.testing.assert_close(alone[0], together[i])


def test_gradients():
    points, cam = (torch.rand(2, n, 3, dtype=torch.float64, requires_grad=True) for n in (4, 1))
    tform = crop_tform(torch.tensor([[10.0, 10, 90, 80], [0, 0, 50, 60]])).double()
    assert torch.autograd.gradcheck(
        lambda p, c: crop_to_aligned(project(p, c[:, 0]), tform, 224, (64, 48)), (points, cam)
    )
