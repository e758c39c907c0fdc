import pytest
import torch
from torchvision.transforms.functional import resize

from diffrig_emo.perception import EmotionPrediction, TimmEmotionRecognizer


def test_any_size_is_resized_to_its_own():
    recognizer = TimmEmotionRecognizer("test_resnet", image_size=32).eval()
    image = torch.rand(2, 3, 50, 70)
    seen = recognizer(image)
    alone = recognizer.recognize(resize(image, [32, 32], antialias=True))
    torch.testing.assert_close(seen.logits, alone.logits)
    assert seen.feature.shape == (2, recognizer.feature_dim)


def test_valence_and_arousal_stay_in_range():
    recognizer = TimmEmotionRecognizer("test_resnet", image_size=32, feature_dim=4).eval()
    torch.nn.init.constant_(recognizer.linear.bias, 50.0)
    assert recognizer(torch.rand(1, 3, 32, 32)).va.tolist() == [[1.0, 1.0]]


def test_dropout_leaves_the_features_alone():
    recognizer = TimmEmotionRecognizer("test_resnet", image_size=32, feature_dim=8, dropout=0.9)
    image = torch.rand(4, 3, 32, 32)
    first, second = recognizer(image), recognizer(image)
    torch.testing.assert_close(first.feature, second.feature)
    assert not torch.equal(first.logits, second.logits)


def test_predictions_are_structs():
    recognizer = TimmEmotionRecognizer("test_resnet", image_size=32).eval()
    seen = recognizer(torch.rand(3, 3, 32, 32))
    both = EmotionPrediction.cat([seen[0], seen[1:]])
    assert torch.equal(both.logits, seen.logits)
    torch.testing.assert_close(seen.probabilities.sum(dim=1), torch.ones(3))
    assert torch.equal(seen.label, seen.probabilities.argmax(dim=1))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_name": "no_such_net"}, "timm knows no model 'no_such_net'"),
        ({"image_size": 0}, "image_size: expected at least 1"),
        ({"feature_dim": 0}, "feature_dim: expected at least 1"),
        ({"dropout": 1.0}, "dropout: expected a share"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        TimmEmotionRecognizer(**{"model_name": "test_resnet", **settings})


@pytest.mark.parametrize("image", [torch.rand(3, 32, 32), torch.rand(1, 1, 32, 32), torch.zeros(1, 3, 8, 8).byte()])
def test_what_is_no_batch_of_pictures_is_refused(image):
    with pytest.raises(ValueError, match=r"image: expected a float tensor of shape \(batch, 3, height, width\)"):
        TimmEmotionRecognizer("test_resnet", image_size=32)(image)


def test_trained_weights_come_by_path_and_others_are_refused(tmp_path):
    trained = TimmEmotionRecognizer("test_resnet", image_size=32, feature_dim=8)
    path = tmp_path / "recognizer.ckpt"
    torch.save({"state_dict": {f"recognizer.{k}": v for k, v in trained.state_dict().items()}}, path)
    again = TimmEmotionRecognizer("test_resnet", image_size=32, feature_dim=8, weights=str(path)).eval()
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(again(image).logits, trained.eval()(image).logits)
    with pytest.raises(ValueError, match=r"linear.weight: checkpoint has \(10, 8\), this recognizer \(10, 4\)"):
        TimmEmotionRecognizer("test_resnet", image_size=32, feature_dim=4, weights=str(path))
    with pytest.raises(FileNotFoundError, match=r"weights: .* none\.ckpt does not exist"):
        TimmEmotionRecognizer("test_resnet", image_size=32, weights="none.ckpt")
