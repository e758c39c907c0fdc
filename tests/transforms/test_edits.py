from __future__ import annotations

import dataclasses

import pytest
import torch
from scipy.spatial.transform import Rotation, Slerp

from diffrig_emo.structures import FaceCodes, StructError
from diffrig_emo.transforms.edits import (
    add_to_coefficient,
    interpolate,
    set_coefficient,
    transfer_expression,
    transfer_light,
    transfer_pose,
    with_mean_shape,
)


def random_codes(n=3, full=True, space="s"):
    extra = {"detail": torch.randn(n, 5), "eye_pose": torch.randn(n, 6), "translation": torch.randn(n, 3)}
    return FaceCodes(
        shape=torch.randn(n, 4),
        tex=torch.randn(n, 3),
        exp=torch.randn(n, 2),
        pose=torch.randn(n, 6),
        cam=torch.randn(n, 3),
        light=torch.randn(n, 9, 3),
        tform=torch.randn(n, 3, 3) if full else None,
        space=space,
        **(extra if full else {}),
    )


def changed(before, after):
    """Names of the fields that differ; of the pose, which half."""
    names = {f.name for f in dataclasses.fields(FaceCodes)} - {"pose", "space"}
    found = {n for n in names if not torch.equal(getattr(before, n), getattr(after, n))}
    return found | {
        n for n in ("global_rotation", "jaw_pose") if not torch.equal(getattr(before, n), getattr(after, n))
    }


@pytest.mark.parametrize(
    ("edit", "names"),
    [
        (transfer_expression, {"exp", "jaw_pose"}),
        (transfer_pose, {"global_rotation"}),
        (transfer_light, {"light"}),
    ],
)
def test_transfers_move_this_and_nothing_else(edit, names):
    source, target = random_codes(), random_codes()
    kept = dataclasses.replace(source)
    edited = edit(source, target)
    assert changed(source, edited) == names
    for name in names:
        assert torch.equal(getattr(edited, name), getattr(target, name))
    assert not changed(source, kept)


@pytest.mark.parametrize(
    "edit", [transfer_expression, transfer_pose, transfer_light, lambda a, b: interpolate(a, b, 0.5)]
)
def test_pairs_are_checked(edit):
    with pytest.raises(StructError, match="expected codes of space 's', got 'other'"):
        edit(random_codes(), random_codes(space="other"))
    with pytest.raises(StructError, match=r"two batches of one size, got 3 and 1; repeat a single face"):
        edit(random_codes(3), random_codes(1))


def test_one_target_for_many():
    target = random_codes(1)[[0] * 3]
    edited = transfer_expression(random_codes(3), target)
    assert torch.equal(edited.exp[0], edited.exp[2])


def test_expressions_of_other_models_do_not_fit():
    small = random_codes(full=False).replace(exp=torch.zeros(3, 7))
    assert transfer_expression(random_codes(), small).exp.shape == (3, 7)  # the face model names the mismatch


def test_mean_shape():
    codes, mean = random_codes(), torch.randn(4)
    edited = with_mean_shape(codes, mean)
    assert changed(codes, edited) == {"shape"}
    assert torch.equal(edited.shape, mean.expand(3, 4))
    with pytest.raises(StructError, match=r"expected one vector of 4 coefficients, got \(1, 4\)"):
        with_mean_shape(codes, mean[None])


def test_single_coefficients():
    codes = random_codes()
    edited = set_coefficient(codes, "exp", 1, 0.5)
    assert edited.exp[:, 1].tolist() == [0.5] * 3
    assert torch.equal(edited.exp[:, 0], codes.exp[:, 0])
    assert changed(codes, edited) == {"exp"}
    each = torch.tensor([0.1, 0.2, 0.3])
    moved = add_to_coefficient(codes, "shape", -1, each)
    torch.testing.assert_close(moved.shape[:, -1] - codes.shape[:, -1], each)
    assert changed(codes, moved) == {"shape"}


@pytest.mark.parametrize(
    ("field", "index", "message"),
    [
        ("exp", 2, r"FaceCodes\.exp: expected an index of 2 coefficients, got 2"),
        ("exp", -3, "got -3"),
        ("detail", 0, r"FaceCodes\.detail: expected a row of coefficients per face, got none"),
        ("light", 0, r"FaceCodes\.light: expected a row"),
    ],
)
def test_wrong_coefficient(field, index, message):
    for edit in (set_coefficient, add_to_coefficient):
        with pytest.raises(StructError, match=message):
            edit(random_codes(full=False), field, index, 1.0)


def test_ends_of_interpolation():
    start, end = random_codes(), random_codes()
    for weight, expected in ((0.0, start), (1.0, end)):
        found = interpolate(start, end, weight)
        for field in dataclasses.fields(FaceCodes):
            a, b = getattr(found, field.name), getattr(expected, field.name)
            if field.name in ("pose", "eye_pose"):  # the same rotation may have another axis-angle
                a, b = (torch.from_numpy(Rotation.from_rotvec(v.reshape(-1, 3).numpy()).as_matrix()) for v in (a, b))
            if field.name != "space":
                torch.testing.assert_close(a, b, atol=2e-6, rtol=0)


def test_middle_of_interpolation():
    start, end = random_codes(), random_codes()
    weight = torch.tensor([0.25, 0.5, 0.75])
    found = interpolate(start, end, weight)
    torch.testing.assert_close(found.exp, start.exp + weight[:, None] * (end.exp - start.exp))
    torch.testing.assert_close(found.light, start.light + weight[:, None, None] * (end.light - start.light))
    for i in range(3):
        pair = Rotation.from_rotvec(torch.stack([start.jaw_pose[i], end.jaw_pose[i]]).numpy())
        expected = Slerp([0, 1], pair)(weight[i].item())
        assert (expected.inv() * Rotation.from_rotvec(found.jaw_pose[i].numpy())).magnitude() < 1e-5


def test_a_similarity_stays_one():
    def similarity(a, b, x, y):
        return torch.tensor([[[a, -b, x], [b, a, y], [0.0, 0.0, 1.0]]])

    start, end = (random_codes(1).replace(tform=similarity(*v)) for v in ((1.0, 0.2, 3.0, 4.0), (0.7, -0.3, 9.0, 1.0)))
    tform = interpolate(start, end, 0.4).tform[0]
    assert tform[0, 0] == tform[1, 1]
    assert tform[0, 1] == -tform[1, 0]
    assert tform[2].tolist() == [0, 0, 1]


def test_absent_fields():
    bare, full = random_codes(full=False), random_codes()
    assert interpolate(bare, bare, 0.5).detail is None
    with pytest.raises(StructError, match=r"FaceCodes\.detail: expected it in both codes or neither"):
        interpolate(bare, full, 0.5)
    moved = interpolate(bare, bare.replace(translation=full.translation), 0.5)
    torch.testing.assert_close(moved.translation, full.translation / 2)


def test_wrong_number_of_weights():
    with pytest.raises(StructError, match="weight: expected a number or 3 of them, got 2"):
        interpolate(random_codes(), random_codes(), torch.tensor([0.1, 0.2]))
