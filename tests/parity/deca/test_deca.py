"""DECA against numbers of the original code, with seeded weights in the official format."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffrig_emo.morphable import DECA, DetailDecoder
from diffrig_emo.structures import FaceCrop


def close(ours, reference, largest=None):
    """Equal up to rounding: 2e-5 of the largest value."""
    largest = np.abs(reference).max() if largest is None else largest
    np.testing.assert_allclose(ours.numpy(), reference, rtol=0, atol=2e-5 * float(largest))


@pytest.fixture(scope="module")
def numbers(parity_dir):
    return np.load(parity_dir / "deca" / "deca_forward.npz")


@pytest.fixture(scope="module")
def image(fill):
    return torch.from_numpy(fill.seeded_array("open/deca/image", (2, 3, 224, 224), 0, 1))


@pytest.fixture(scope="module")
def deca(fake_deca_path):
    return DECA(fake_deca_path, detail=True)


@pytest.fixture(scope="module")
def decoder(fake_deca_path):
    return DetailDecoder(fake_deca_path)


@pytest.mark.parametrize("grad", [False, True])
def test_codes(deca, image, numbers, grad):
    with torch.set_grad_enabled(grad):
        codes = deca(FaceCrop(image=image.clone().requires_grad_(grad))).detach()
    for name in ("shape", "tex", "exp", "pose", "cam", "light"):
        close(getattr(codes, name), numbers[f"code.{name}"])
    close(codes.detail, numbers["detail"])


def test_features(deca, image, numbers):
    with torch.no_grad():
        close(deca.coarse.encoder(image), numbers["features"])
        close(deca.coarse(image), numbers["params"])


def test_displacement_of_the_codes(deca, decoder, image, numbers):
    with torch.no_grad():
        codes = deca(FaceCrop(image=image))
        close(torch.cat([codes.jaw_pose, codes.exp, codes.detail], dim=1), numbers["latent_jaw_exp_detail"])
        displacement = decoder(codes.jaw_pose, codes.exp, codes.detail)
    assert tuple(displacement.shape) == tuple(numbers["uv_z.shape"])
    close(displacement.flatten()[numbers["uv_z.idx"]], numbers["uv_z.val"], numbers["uv_z.absmax"])
    assert displacement.double().mean().item() == pytest.approx(float(numbers["uv_z.mean"]), rel=1e-5)
    assert displacement.double().std(correction=0).item() == pytest.approx(float(numbers["uv_z.std"]), rel=1e-4)


def test_displacement_of_seeded_codes(decoder, fill, numbers):
    latent = torch.from_numpy(fill.seeded_normal("open/deca/latent", (2, 181)))
    with torch.no_grad():
        displacement = decoder(*latent.split([3, 50, 128], dim=1))
    close(displacement[0, 0], numbers["uv_z_seeded_full0"])
    close(displacement.flatten()[numbers["uv_z_seeded.idx"]], numbers["uv_z_seeded.val"])


def test_codes_do_not_depend_on_the_rest_of_the_batch(deca, fill):
    image = torch.from_numpy(fill.seeded_array("batch", (5, 3, 224, 224), 0, 1))
    with torch.no_grad():
        together, alone = deca(FaceCrop(image=image)), deca(FaceCrop(image=image[3:4]))
    for name in ("shape", "tex", "exp", "pose", "cam", "light", "detail"):
        close(getattr(together, name)[3:4], getattr(alone, name).numpy())
