"""Face codes: the mean face, the halves of the pose, finiteness and spaces."""

from __future__ import annotations

import math

import pytest
import torch

from diffrig_emo.structures import FaceCodes, StructError


@pytest.fixture
def codes():
    return FaceCodes.zeros(3, n_shape=4, n_tex=3, n_exp=5, space="synthetic1")


def test_the_mean_face_is_lit_evenly_with_one(codes):
    # The constant spherical harmonic is 1 / sqrt(4 pi); every other band vanishes.
    shading = codes.light[:, 0] / math.sqrt(4 * math.pi)
    torch.testing.assert_close(shading, torch.ones(3, 3))
    assert codes.light[:, 1:].abs().max() == 0


def test_zeros_takes_device_and_dtype():
    codes = FaceCodes.zeros(1, n_shape=2, n_tex=2, n_exp=2, space="s", device="meta", dtype=torch.float64)
    assert codes.cam.device.type == "meta"
    assert codes.light.dtype == torch.float64


def test_pose_is_global_rotation_then_jaw(codes):
    codes = codes.replace(pose=torch.arange(6.0).repeat(3, 1))
    assert codes.global_rotation[0].tolist() == [0, 1, 2]
    assert codes.jaw_pose[0].tolist() == [3, 4, 5]


@pytest.mark.parametrize("field", ["shape", "tex", "exp", "pose", "cam", "light", "detail", "tform"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_named_with_its_item(codes, field, bad):
    codes = codes.replace(detail=torch.zeros(3, 8), tform=torch.eye(3).repeat(3, 1, 1))
    broken = getattr(codes, field).clone()
    broken[1, -1] = bad
    with pytest.raises(StructError, match=f"FaceCodes.{field}: expected finite numbers.*item 1 of 3"):
        codes.replace(**{field: broken}).require_finite()
    assert codes.require_finite() is codes


def test_spaces_do_not_mix(codes):
    assert codes.require_space("synthetic1") is codes
    with pytest.raises(StructError, match=r"FaceCodes.space: expected codes of space 'flame2020', got 'synthetic1'"):
        codes.require_space("flame2020")


def test_light_is_nine_by_three(codes):
    with pytest.raises(StructError, match=r"FaceCodes.light: .*\(batch, 9, 3\), got float32 \(3, 3, 9\)"):
        codes.replace(light=torch.zeros(3, 3, 9))
