from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.transform import SimilarityTransform, estimate_transform
from skimage.transform import warp as skimage_warp

from diffrig_emo.transforms.crop import crop_face, crop_tform, landmark_box, paste_back, warp

BOXES = torch.tensor([[70.0, 80.0, 190.0, 200.0], [10.5, 3.25, 61.0, 70.5], [-20.0, 30.0, 90.0, 170.3]])


def numpy_image(tensor):
    return tensor.permute(1, 2, 0).numpy()


def test_tform_is_the_similarity_through_three_corners():
    for kind in ("kpt68", "bbox"):
        for box, tform in zip(BOXES.double().numpy(), crop_tform(BOXES, kind), strict=True):
            left, top, right, bottom = box
            old = (right - left + bottom - top) / 2 * (1.1 if kind == "kpt68" else 1.0)
            cx, cy = (left + right) / 2, (top + bottom) / 2 + (0.12 * old if kind == "bbox" else 0.0)
            size = int(old * 1.25)
            x, y = cx - size / 2, cy - size / 2
            corners = np.array([[x, y], [x, y + size], [x + size, y]])
            expected = estimate_transform("similarity", corners, np.array([[0, 0], [0, 223], [223, 0]]))
            np.testing.assert_allclose(tform.numpy(), expected.params, atol=2e-5)


def test_size_is_truncated():
    tform = crop_tform(torch.tensor([[0.0, 0.0, 120.6, 120.6]]))  # 1.25 * 1.1 * 120.6 = 165.8
    assert tform[0, 0, 0].item() == pytest.approx(223 / 165)


def test_landmark_box():
    points = torch.tensor([[[3.0, 5.0], [1.0, 9.0], [2.0, 2.0]]])
    assert landmark_box(points).tolist() == [[1.0, 2.0, 3.0, 9.0]]


def test_crop_is_skimages():
    image = torch.rand(3, 3, 150, 180, dtype=torch.float64)
    tform = crop_tform(BOXES)
    crops = crop_face(image, tform)
    for i in range(3):
        inverse = SimilarityTransform(np.linalg.inv(tform[i].double().numpy()))
        # skimage fades the outermost half pixel at constant borders as zero taps do
        expected = skimage_warp(numpy_image(image[i]), inverse, output_shape=(224, 224), order=1)
        np.testing.assert_allclose(numpy_image(crops[i]), expected, atol=1e-11)
    assert (crops[2] == 0).any()


def test_crop_in_float32():
    image, tform = torch.rand(3, 3, 150, 180, dtype=torch.float64), crop_tform(BOXES)
    torch.testing.assert_close(crop_face(image.float(), tform).double(), crop_face(image, tform), atol=2e-4, rtol=0)


def test_turned_warp_is_skimages():
    similarity = SimilarityTransform(scale=0.8, rotation=0.4, translation=(12, -7))
    image = torch.rand(1, 2, 40, 50, dtype=torch.float64)
    warped = warp(image, torch.from_numpy(similarity.params)[None], (33, 44))
    expected = skimage_warp(numpy_image(image[0]), similarity.inverse, output_shape=(33, 44), order=1)
    np.testing.assert_allclose(numpy_image(warped[0]), expected, atol=1e-11)


def test_identity_is_exact():
    image = torch.rand(2, 3, 9, 7, dtype=torch.float64)
    torch.testing.assert_close(warp(image, torch.eye(3).expand(2, 3, 3), (9, 7)), image)


def test_paste_back_undoes_the_crop_of_a_smooth_picture():
    y, x = torch.meshgrid(torch.linspace(0, 1, 150), torch.linspace(0, 1, 180), indexing="ij")
    image = torch.stack([x, y, (x + y) / 2])[None].repeat(2, 1, 1, 1).double()
    tform = crop_tform(BOXES[:2])
    pasted = paste_back(crop_face(image, tform), tform, torch.zeros_like(image))
    inside = paste_back(torch.ones(2, 3, 224, 224).double(), tform, torch.zeros_like(image)) > 0.999
    # the crop's own picture of what lies outside is black, so only what the photo has can come back
    reachable = warp(torch.ones_like(image), tform, (224, 224)) > 0.999
    inside &= paste_back(reachable.double(), tform, torch.zeros_like(image)) > 0.999
    assert inside[0].float().mean() > 0.2
    assert (pasted - image)[inside].abs().max() < 2e-3


def test_paste_back_leaves_the_rest_alone():
    background = torch.rand(1, 3, 150, 180)
    tform = crop_tform(torch.tensor([[60.0, 50.0, 120.0, 100.0]]))  # 75 pixels wide, from (52.5, 37.5)
    pasted = paste_back(torch.full((1, 3, 224, 224), 2.0), tform, background)
    moved = (pasted != background).any(dim=1)[0]
    assert moved[38:113, 53:128].all()
    moved[37:114, 52:129] = False  # the border fades over less than a pixel
    assert not moved.any()
    torch.testing.assert_close(pasted[:, :, 39:112, 54:127], torch.full((1, 3, 73, 73), 2.0))


def test_gradients_reach_the_picture():
    image = torch.rand(1, 1, 6, 7, dtype=torch.float64, requires_grad=True)
    tform = crop_tform(torch.tensor([[1.0, 1.0, 5.0, 4.0]]), crop_size=5)
    assert torch.autograd.gradcheck(lambda i: crop_face(i, tform, 5), image)


@pytest.mark.parametrize(
    ("box", "kind", "message"),
    [
        (torch.zeros(4), "kpt68", r"box: expected a tensor of shape \(batch, 4\), got \(4,\)"),
        (
            torch.tensor([[0.0, 0, 9, 9], [5, 0, 4, 9]]),
            "kpt68",
            r"left < right .* got \[5.0, 0.0, 4.0, 9.0\] in item 1",
        ),
        (torch.zeros(1, 4), "bbox", "in item 0"),
        (torch.full((1, 4), float("nan")), "bbox", "in item 0"),
        (torch.tensor([[0.0, 0, 9, 9]]), "kpt86", "kind: expected 'kpt68' or 'bbox', got 'kpt86'"),
    ],
)
def test_bad_box(box, kind, message):
    with pytest.raises(ValueError, match=message):
        crop_tform(box, kind)


def test_bad_shapes():
    with pytest.raises(ValueError, match=r"image and tform: expected shapes .* got \(2, 3, 4, 4\) and \(1, 3, 3\)"):
        crop_face(torch.zeros(2, 3, 4, 4), torch.eye(3)[None])
