"""Where EMOCA's emotion networks are found."""

import pytest

from diffrig_emo.perception.emoca_files import find_checkpoint
from tests.perception.conftest import CHECKPOINT


@pytest.mark.parametrize(("asset", "name"), [("emoca_emotion", "ResNet50"), ("emoca_emorec", "EMOCA-emorec")])
def test_the_best_checkpoint_of_the_model_is_found(asset, name, emotion_folder, monkeypatch):
    best = emotion_folder / name / "checkpoints" / CHECKPOINT
    assert find_checkpoint(asset, emotion_folder / name) == best
    assert find_checkpoint(asset, emotion_folder) == best
    assert find_checkpoint(asset, best) == best
    monkeypatch.setenv("DIFFRIG_EMO_ASSETS", str(emotion_folder))
    assert find_checkpoint(asset, None) == best


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ResNet50 was not found in .*EmotionRecognition/image_based_networks"):
        find_checkpoint("emoca_emotion", None)
    path = tmp_path / "ResNet50" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    path.touch()
    with pytest.raises(FileNotFoundError, match=r"expected a checkpoint whose name ends .* got \['last\.ckpt'\]"):
        find_checkpoint("emoca_emotion", tmp_path)
