import torch

from diffrig_emo.synthesis import SyntheticFaces, SyntheticScenes


def test_a_scene_is_a_face_with_every_emotion():
    scenes, faces = SyntheticScenes(3, 32, seed=5), SyntheticFaces(3, 32, seed=5)
    assert len(scenes) == 24
    photos = scenes.truth(range(8, 16))
    assert photos["label"].tolist() == list(range(8))
    own = faces.truth([1])
    for name in ("shape", "tex", "light", "cam", "global_rotation"):
        wanted = getattr(own["codes"], name)
        assert torch.equal(getattr(photos["codes"], name), wanted.expand(8, *wanted.shape[1:])), name
    assert len(photos["codes"].exp.unique(dim=0)) == 8
    assert photos["va"][1, 0] > 0 > photos["va"][2, 0]  # happy and sad


def test_surroundings_stay_and_the_face_moves():
    scenes = SyntheticScenes(2, 32, seed=5)
    happy, angry = scenes.photograph([1, 6], clean=True)
    change = (happy - angry).abs().amax(dim=0)
    assert change[:4].max() < 0.02  # the background above the hair
    assert change[16:28, 8:24].max() > 0.1  # the mouth
    other = scenes.photograph([9], clean=True)[0]
    assert (happy - other).abs()[:, :4].max() > 0.1


def test_a_photograph_depends_on_its_number_alone():
    scenes = SyntheticScenes(2, 32, seed=5)
    alone, among = scenes[11], scenes.__getitems__([3, 11, 12])[1]
    assert torch.equal(alone["image"], among["image"])
    assert torch.equal(alone["codes"].exp, among["codes"].exp)
