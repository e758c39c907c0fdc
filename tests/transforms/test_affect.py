import numpy as np
import pytest
import torch
from scipy.stats import vonmises

from diffrig_emo.structures import FaceCodes, StructError
from diffrig_emo.transforms.affect import MAX_STRENGTH, affect_strengths, express

PLACES = torch.tensor([[0, 0], [0.8, 0.35], [-0.7, -0.3], [0.15, 0.8], [-0.6, 0.75], [-0.65, 0.35], [-0.55, 0.75]])


def test_the_middle_is_neutral_and_an_emotion_stands_at_its_place():
    assert affect_strengths(0, 0, PLACES).abs().max() == 0
    for share in (0.25, 1.0):
        strengths = affect_strengths(share * 0.8, share * 0.35, PLACES)
        assert strengths[1] == pytest.approx(share, abs=2e-3)
        assert strengths[[0, 2, 3, 4, 5, 6]].max() < 2e-3
    fear, anger = affect_strengths(-0.57, 0.75, PLACES)[[4, 6]].tolist()
    assert 0.3 < fear < 0.7, "of one direction"
    assert 0.3 < anger < 0.7, "of one direction"


def test_the_weights_are_von_mises_kernels():
    v, a = -0.3, 0.4
    places = PLACES.numpy()
    angle = np.arctan2(places[1:, 1], places[1:, 0]) - np.arctan2(a, v)
    density = vonmises.pdf(angle, 20)
    wanted = density / density.sum() * np.hypot(v, a) / np.linalg.norm(places[1:], axis=1)
    np.testing.assert_allclose(affect_strengths(v, a, PLACES)[1:], wanted, rtol=1e-5)


def test_nothing_jumps_and_nothing_grows_without_bound():
    ring = torch.linspace(0, 2 * torch.pi, 721)
    around = torch.stack([affect_strengths(0.7 * float(t.cos()), 0.7 * float(t.sin()), PLACES) for t in ring])
    assert around.diff(dim=0).abs().max() < 0.1
    assert affect_strengths(1, 1, PLACES).sum() <= MAX_STRENGTH + 1e-6
    assert affect_strengths(-1, 0.5, 0.1 * PLACES).sum() == pytest.approx(MAX_STRENGTH)


def test_bad_places():
    with pytest.raises(ValueError, match=r"arousal: expected a number from -1 to 1, got 1\.5"):
        affect_strengths(0, 1.5, PLACES)
    with pytest.raises(ValueError, match="off the middle"):
        affect_strengths(0, 1, PLACES[:1])


def test_a_mixture_of_expressions_takes_the_place_of_the_faces_own():
    codes = FaceCodes.zeros(2, n_shape=1, n_tex=1, n_exp=2, space="s")
    codes = codes.replace(exp=torch.ones(2, 2), pose=torch.full((2, 6), 0.25))
    exp, jaw = torch.tensor([[1.0, 0.0], [3.0, 4.0], [5.0, -2.0]]), torch.tensor([[0.0] * 3, [0.5, 0, 0], [0.0] * 3])
    edited = express(codes, torch.tensor([0.0, 0.5, 0.25]), exp, jaw)
    assert edited.exp.tolist() == 2 * [[3.0, 1.5]]
    assert edited.pose.tolist() == 2 * [[0.25, 0.25, 0.25, 0.25, 0.0, 0.0]]
    with pytest.raises(StructError, match="expected 2 coefficients"):
        express(codes, torch.zeros(3), torch.zeros(3, 5), jaw)
