from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from diffrig_emo.morphable.landmarks import barycentric_points, contour_rows


def head(yaw, pitch, roll):
    return torch.from_numpy(Rotation.from_euler("ZYX", (roll, yaw, pitch), degrees=True).as_matrix())[None]


@pytest.mark.parametrize(
    ("yaw", "row"),
    {
        **{0: 0, 0.4: 0, 0.6: 1, 1: 1, 38.4: 38, 38.6: 39, 39: 39, 80: 39},
        **{-0.4: 0, -0.6: 40, -1: 40, -2: 41, -38.6: 78, -39: 78, -39.6: 78, -80: 78},
    }.items(),
)
def test_rows(yaw, row):
    assert contour_rows(head(yaw, 0, 0)).tolist() == [row]
    assert contour_rows(head(yaw, 20, -10)).tolist() == [row]  # pitch and roll do not matter


def test_positive_yaw_is_towards_image_right():
    nose = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    turn = head(20, 0, 0)
    assert (turn[0] @ nose)[0] > 0
    assert contour_rows(turn).item() == 20


def test_points_per_item_and_shared():
    vertices = torch.randn(3, 5, 3)
    faces = torch.tensor([[0, 1, 2], [2, 3, 4]])
    ids = torch.tensor([[0, 1], [1, 1], [0, 0]])
    bary = torch.rand(3, 2, 3)
    points = barycentric_points(vertices, faces, ids, bary)
    for b in range(3):
        for k in range(2):
            expected = bary[b, k] @ vertices[b, faces[ids[b, k]]]
            torch.testing.assert_close(points[b, k], expected)
    shared = barycentric_points(vertices, faces, ids[0], bary[0])
    torch.testing.assert_close(
        shared, barycentric_points(vertices, faces, ids[:1].expand(3, 2), bary[:1].expand(3, 2, 3))
    )


def test_centroids():
    equal = torch.full((1, 3), 1 / 3)
    corners = torch.tensor([[[0.0, 0, 0], [3, 0, 0], [0, 3, math.pi]]])
    centre = barycentric_points(corners, torch.tensor([[0, 1, 2]]), torch.tensor([0]), equal)
    torch.testing.assert_close(centre, torch.tensor([[[1.0, 1.0, math.pi / 3]]]))
