import pytest
import torch

from diffrig_emo.perception import EmotionPrediction, EmotionRecognizer, class_prototypes


class Colours(EmotionRecognizer):
    """A recogniser whose feature is the mean colour; in training mode it sees black."""

    def __init__(self):
        super().__init__()
        self.image_size, self.feature_dim = 4, 3
        self.scale = torch.nn.Parameter(torch.ones(()))

    def recognize(self, image):
        feature = self.scale * image.mean(dim=(2, 3)) * (not self.training)
        return EmotionPrediction(logits=torch.zeros(len(image), 8), va=torch.zeros(len(image), 2), feature=feature)


def batch(colours, labels):
    image = torch.tensor(colours, dtype=torch.float32)[:, :, None, None].expand(-1, -1, 4, 4)
    return {"image": image, "label": torch.tensor(labels)}


def test_prototypes_are_means_over_all_batches():
    batches = [
        batch([[1, 0, 0], [0, 1, 0], [0.5, 0.5, 0.5]], [0, 2, -1]),
        batch([[0, 0, 1], [0, 1, 1]], [0, 2]),
        batch([[1, 1, 1]], [-1]),
        {"image": torch.zeros(2, 3, 4, 4)},
    ]
    recognizer = Colours().train()
    prototypes = class_prototypes(recognizer, batches)
    torch.testing.assert_close(prototypes[0], torch.tensor([0.5, 0.0, 0.5]))
    torch.testing.assert_close(prototypes[2], torch.tensor([0.0, 1.0, 0.5]))
    assert prototypes.isnan().all(dim=1).sum() == 6
    assert not prototypes.requires_grad
    assert recognizer.training


def test_faces_without_labels_are_refused():
    with pytest.raises(ValueError, match="expected faces with a label of 0 to 7, got none"):
        class_prototypes(Colours(), [batch([[0, 0, 0]], [-1])])
