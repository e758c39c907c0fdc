"""AED, AJD and APD against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diffrig_emo.metrics import ReenactmentDistances
from diffrig_emo.metrics.functional import reenactment_distances
from diffrig_emo.structures import FaceCodes, StructError


def codes(seed, batch=5, n_exp=6):
    generator = torch.Generator().manual_seed(seed)
    sizes = {"shape": 4, "tex": 3, "exp": n_exp, "pose": 6, "cam": 3}
    fields = {name: torch.randn(batch, size, generator=generator) for name, size in sizes.items()}
    return FaceCodes(**fields, light=torch.randn(batch, 9, 3, generator=generator), space="s")


def test_distances_are_numpys_mean_absolute_differences():
    pred, driving = codes(0), codes(1)
    distances = reenactment_distances(pred, driving)
    pose = np.abs(pred.pose.double().numpy() - driving.pose.double().numpy())
    wanted = {
        "aed": np.abs(pred.exp.double().numpy() - driving.exp.double().numpy()).mean(axis=1),
        "apd": pose[:, :3].mean(axis=1),
        "ajd": pose[:, 3:].mean(axis=1),
    }
    assert distances.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(distances[name].numpy(), value, rtol=1e-5)
    metric = ReenactmentDistances()
    metric.update(pred[:4], driving[:4])
    metric.update(pred[4], driving[4])
    for name, value in metric.compute().items():
        assert value.item() == pytest.approx(wanted[name].mean(), rel=1e-5)


def test_identity_light_and_camera_do_not_count():
    pred, driving = codes(0), codes(1)
    same = pred.replace(exp=driving.exp, pose=driving.pose)
    assert all((value == 0).all() for value in reenactment_distances(same, driving).values())


def test_codes_of_other_spaces_and_sizes_are_refused():
    with pytest.raises(StructError, match=r"FaceCodes\.space"):
        reenactment_distances(codes(0), codes(1).replace(space="other"))
    with pytest.raises(StructError, match=r"FaceCodes.exp: expected equal shapes, got \(5, 6\) and \(5, 7\)"):
        reenactment_distances(codes(0), codes(1, n_exp=7))
