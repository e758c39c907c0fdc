from __future__ import annotations

import pytest
import torch

from diffrig_emo.renderer import turntable
from diffrig_emo.structures import MeshTopology
from diffrig_emo.structures.codes import EVEN_LIGHT
from tests.fakes import FakeHead

CORNERS = torch.tensor([[0, 1, 2]])
FLAT = MeshTopology(faces=CORNERS, uvs=torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), uv_faces=CORNERS)
# A sail that sticks out of the face, narrow from the front.
SAIL = torch.tensor([[[0.0, -0.1, 0.0], [0.0, 0.1, 0.0], [0.03, 0.0, 0.2]]])


def even(batch=1):
    light = torch.zeros(batch, 9, 3)
    light[:, 0] = EVEN_LIGHT
    return light


def test_it_turns_to_the_subjects_left_once_round():
    frames = list(turntable(SAIL, FLAT, torch.zeros(1, 3, 4, 4), even(), num_frames=8, size=32))
    assert len(frames) == 8
    assert all(frame.shape == (1, 3, 32, 32) for frame in frames)
    ink = torch.stack([1 - frame[0, 0] for frame in frames])
    middle = (ink.sum(1) * torch.arange(32)).sum(1) / ink.sum((1, 2)).clamp(min=1e-6)
    assert 0 < ink[0].sum() < 0.25 * ink[2].sum()
    # The wide end of the sail is at the back: seen from the side, it is left of the middle when the tip points right.
    assert middle[2] < 15.5 < middle[6]
    for number in range(4):
        assert (ink[number] - ink[number + 4].flip(-1)).abs().mean() < 2e-3


def test_from_behind_it_is_its_own_mirror_image():
    head = FakeHead(rings=9, segments=15)
    vertices = head.rest[None] * torch.tensor([1.0, 1.2, 0.9]) + torch.tensor([0.0, 0.5, 3.0])
    front, _, back, _ = turntable(vertices, head.topology, torch.zeros(1, 3, 4, 4), even(), num_frames=4, size=64)
    assert 0.4 < (front < 0.5).float().mean() < 0.7
    torch.testing.assert_close(front, back.flip(-1), atol=0.01, rtol=0)


def test_one_camera_for_all_heads():
    head = FakeHead(rings=9, segments=16)
    vertices = torch.stack([head.rest, 0.5 * head.rest])
    (frame,) = turntable(vertices, head.topology, torch.zeros(2, 3, 4, 4), even(2), num_frames=1, size=64)
    large, small = (1 - frame).mean(dim=(1, 2, 3))
    assert large / small == pytest.approx(4, rel=0.03)


def test_the_texture_reaches_its_border_and_the_ground_is_grey():
    head = FakeHead()
    topology = MeshTopology(faces=head.faces, uvs=(head.uvs - 0.5) / 0.9 + 0.5, uv_faces=head.faces)
    assert topology.uvs.min() < 1e-6
    for texture in (torch.ones(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)):
        (frame,) = turntable(head.rest[None], topology, texture, even(), num_frames=1, size=48, background=0.25)
        assert torch.isclose(frame, frame.new_tensor(0.25), atol=1e-5).float().mean() > 0.2
        assert torch.isclose(frame, texture.max(), atol=1e-5).float().mean() > 0.5
        assert frame.amax() <= max(0.2500001, float(texture.max()) + 1e-5)
        assert frame.amin() >= min(0.2499999, float(texture.max()) - 1e-5)  # no dark seam


def test_numbers_that_make_no_film():
    for numbers in ({"num_frames": 0}, {"size": 0}):
        with pytest.raises(ValueError, match="expected positive numbers"):
            next(turntable(SAIL, FLAT, torch.zeros(1, 3, 4, 4), even(), **numbers))
