"""Code errors against scipy's rotations and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from diffrig_emo.metrics import CodeErrors, ReinferenceErrors
from diffrig_emo.metrics.functional import code_errors, geodesic_degrees, reinference_errors
from diffrig_emo.metrics.functional.codes import GROUPS
from diffrig_emo.structures import FaceCodes, StructError


def _codes(seed, batch=5, n_shape=7, space="synthetic1"):
    generator = torch.Generator().manual_seed(seed)
    sizes = {"shape": n_shape, "tex": 4, "exp": 6, "pose": 6, "cam": 3}
    fields = {name: torch.randn(batch, size, generator=generator) for name, size in sizes.items()}
    return FaceCodes(**fields, light=torch.randn(batch, 9, 3, generator=generator), space=space)


def _angles(a, b):
    between = Rotation.from_rotvec(a.double().numpy()).inv() * Rotation.from_rotvec(b.double().numpy())
    return np.degrees(between.magnitude())


@pytest.mark.parametrize("scale", [1e-4, 0.3, 3.0, 10.0])
def test_geodesic_is_scipys(scale):
    a, b = scale * torch.randn(2, 50, 3, dtype=torch.float64)
    np.testing.assert_allclose(geodesic_degrees(a, b).numpy(), _angles(a, b), rtol=1e-9, atol=1e-9)


def test_geodesic_keeps_small_angles_in_float32():
    a = torch.tensor([[0.3, -0.2, 0.1]])
    b = torch.tensor([[0.3, -0.2, 0.1 + 1e-4]])
    assert geodesic_degrees(a, b).item() == pytest.approx(_angles(a, b).item(), rel=2e-3)


def test_no_rotation_has_no_error_and_finite_gradients():
    a = torch.zeros(2, 3, requires_grad=True)
    angle = geodesic_degrees(a, torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.2, 0.0]]))
    angle.sum().backward()
    assert a.grad.isfinite().all()
    assert geodesic_degrees(torch.zeros(1, 3), torch.zeros(1, 3)).item() == 0


def test_groups_are_root_mean_squares_and_mean_angles():
    pred, target = _codes(1), _codes(2)
    errors = code_errors(pred, target)
    assert tuple(errors) == GROUPS
    for group in ("shape", "tex", "exp", "cam", "light"):
        difference = (getattr(pred, group) - getattr(target, group)).double().numpy()
        assert errors[group].item() == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-5)
    for group in ("global_rotation", "jaw_pose"):
        wanted = _angles(getattr(pred, group), getattr(target, group)).mean()
        assert errors[group].item() == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("group", GROUPS)
def test_each_group_sees_only_its_own_codes(group):
    target = _codes(1)
    field = {"global_rotation": "pose", "jaw_pose": "pose"}.get(group, group)
    moved = getattr(target, field).clone()
    moved[:, {"global_rotation": slice(0, 3), "jaw_pose": slice(3, 6)}.get(group, slice(None))] *= 0.9
    errors = code_errors(target.replace(**{field: moved}), target)
    assert {name for name, value in errors.items() if value > 1e-3} == {group}


def test_batches_do_not_change_the_error():
    pred, target = _codes(1), _codes(2)
    metric = CodeErrors()
    metric.update(pred[:4], target[:4])
    metric.update(pred[4], target[4])
    at_once = code_errors(pred, target)
    for group, value in metric.compute().items():
        torch.testing.assert_close(value, at_once[group])


def test_codes_of_other_spaces_and_sizes_are_refused():
    with pytest.raises(StructError, match=r"FaceCodes.space: expected codes of space 'flame2020', got 'synthetic1'"):
        code_errors(_codes(1), _codes(2, space="flame2020"))
    with pytest.raises(StructError, match=r"FaceCodes.shape: expected equal shapes, got \(5, 7\) and \(5, 8\)"):
        code_errors(_codes(1), _codes(2, n_shape=8))
    with pytest.raises(StructError, match=r"FaceCodes.shape: expected equal shapes, got \(5, 7\) and \(1, 7\)"):
        code_errors(_codes(1), _codes(2, batch=1))


def test_reinference_errors_are_errors_beside_their_floor():
    pred, target, true_edit = _codes(1), _codes(2), _codes(3)
    figures = reinference_errors(pred, target, true_edit, target)
    error, floor = code_errors(pred, target), code_errors(true_edit, target)
    assert set(figures) == {*GROUPS, *(f"{group}_floor" for group in GROUPS)}
    metric = ReinferenceErrors()
    for part in (slice(0, 3), slice(3, 5)):
        metric.update(pred[part], target[part], true_edit[part], target[part])
    for group in GROUPS:
        assert figures[group] == error[group]
        assert figures[f"{group}_floor"] == floor[group]
        torch.testing.assert_close(metric.compute()[group], error[group])
        torch.testing.assert_close(metric.compute()[f"{group}_floor"], floor[group])


def test_the_floor_may_be_that_of_the_untouched_source():
    pred, target, read, source = (_codes(seed) for seed in range(4))
    figures = reinference_errors(pred, target, read, source)
    assert figures["shape_floor"] == code_errors(read, source)["shape"]
    with pytest.raises(StructError, match=r"FaceCodes\.space"):
        reinference_errors(pred, target, read.replace(space="other"), source)
