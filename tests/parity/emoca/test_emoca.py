"""EMOCA against numbers of the original code, with seeded weights in the official format."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from diffrig_emo.morphable import DECA, EMOCA, DetailDecoder
from diffrig_emo.structures import FaceCrop
from diffrig_emo.transforms import transfer_expression
from tests.parity.fake_assets import write_fake_emoca

FIELDS = ("shape", "tex", "exp", "pose", "cam", "light")


def close(ours, reference):
    """Equal up to rounding: 2e-5 of the largest value."""
    np.testing.assert_allclose(ours.numpy(), reference, rtol=0, atol=2e-5 * np.abs(reference).max())


@pytest.fixture(scope="module")
def numbers(parity_dir):
    return np.load(parity_dir / "emoca" / "emoca_codes.npz")


@pytest.fixture(scope="module")
def crop(fill):
    return FaceCrop(image=torch.from_numpy(fill.seeded_array("open/emoca/image", (2, 3, 224, 224), 0, 1)))


@pytest.fixture(scope="module")
def emoca(fake_emoca_dir):
    return EMOCA(fake_emoca_dir, detail=True)


@pytest.fixture(scope="module")
def both(emoca, crop):
    with torch.no_grad():
        return emoca.encode_both(crop)


def test_expression_only(emoca, crop, both, numbers):
    deca, codes = both
    with torch.no_grad():
        close(emoca.coarse(crop.image), numbers["deca_params"])
        close(emoca.expression(crop.image), numbers["exp_only.expression_params"])
    for name in FIELDS:
        # All but the expression is the same for every configuration of the second encoder, and stored once.
        key = f"exp_only.{name}" if name in ("exp", "pose") else f"jaw_only.{name}"
        close(getattr(codes, name), numbers[key])
    close(deca.exp, numbers["original.exp"])
    close(deca.pose, numbers["original.pose"])


def test_jaw_too(tmp_path, crop, numbers):
    parts = ("E_flame", "E_expression")
    write_fake_emoca(tmp_path / "model", width=53, flags=(False, True), stage="coarse", parts=parts)
    try:
        emoca = EMOCA(tmp_path / "model")
    finally:
        shutil.rmtree(tmp_path / "model")
    with torch.no_grad():
        close(emoca.expression(crop.image), numbers["jaw_only.expression_params"])
        deca, codes = emoca.encode_both(crop)
    for name in FIELDS:
        close(getattr(codes, name), numbers[f"jaw_only.{name}"])
    close(deca.exp, numbers["original.exp"])
    close(deca.pose, numbers["original.pose"])


def test_its_decas_codes_are_decas(both, fake_deca_path, crop):
    with torch.no_grad():
        codes = DECA(fake_deca_path)(crop)
    for name in FIELDS:
        assert torch.equal(getattr(both[0], name), getattr(codes, name)), name
    assert both[0].detail is None


def test_wrinkles_are_decoded_from_emocas_own_file(both, fake_emoca_dir, fake_deca_path):
    codes = both[1]
    with torch.no_grad():
        displacement = DetailDecoder(fake_emoca_dir)(codes.jaw_pose, codes.exp, codes.detail)
        # The seeded weights of the two files are the same.
        expected = DetailDecoder(fake_deca_path)(codes.jaw_pose, codes.exp, codes.detail)
    assert torch.equal(displacement, expected)


def test_any_expression_goes_with_any_other_codes(both):
    """DECA's face with EMOCA's expression is EMOCA's face where EMOCA replaces the expression alone."""
    deca, emoca = both
    mixed = transfer_expression(deca, emoca)
    for name in FIELDS:
        assert torch.equal(getattr(mixed, name), getattr(emoca, name)), name
    back = transfer_expression(emoca, deca)
    for name in FIELDS:
        assert torch.equal(getattr(back, name), getattr(deca, name)), name
