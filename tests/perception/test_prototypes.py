import pytest
import torch

from diffrig_emo.io.npz import write_npz
from diffrig_emo.perception import (
    EmotionPrediction,
    EmotionRecognizer,
    class_prototypes,
    expression_prototypes,
    read_prototypes,
)
from diffrig_emo.structures import StructError
from tests.fakes import fake_codes


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


def test_prototypes_of_codes_are_means_and_come_back_from_their_file(tmp_path):
    first, second = fake_codes(3, 0), fake_codes(2, 1)
    batches = [
        {"codes": first, "label": torch.tensor([0, 4, -1])},
        {"label": torch.tensor([4])},
        {"codes": second, "label": torch.tensor([4, 0])},
    ]
    found = expression_prototypes(batches)
    torch.testing.assert_close(found.exp[4], (first.exp[1] + second.exp[0]) / 2)
    torch.testing.assert_close(found.jaw_pose[0], (first.jaw_pose[0] + second.jaw_pose[1]) / 2)
    assert found.exp.isnan().all(dim=1).tolist() == [False, True, True, True, False, True, True, True]
    found.write(tmp_path / "deep" / "p.npz")
    again = read_prototypes(tmp_path / "deep" / "p.npz")
    assert again.space == "fake"
    torch.testing.assert_close(again.exp, found.exp, equal_nan=True)
    torch.testing.assert_close(again.jaw_pose, found.jaw_pose, equal_nan=True)


def test_bad_codes_and_files_are_refused(tmp_path):
    codes = fake_codes(1)
    with pytest.raises(ValueError, match=r"neutral \(0\) among them"):
        expression_prototypes([{"codes": codes, "label": torch.tensor([1])}])
    with pytest.raises(StructError, match="other"):
        expression_prototypes([{"codes": c, "label": torch.tensor([0])} for c in (codes, codes.replace(space="other"))])
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_prototypes(tmp_path / "none.npz")
    write_npz(tmp_path / "other.npz", {"exp": torch.zeros(7, 2).numpy()}, {})
    with pytest.raises(ValueError, match="expected prototypes of emotions"):
        read_prototypes(tmp_path / "other.npz")
    (tmp_path / "rubbish.npz").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match=r"rubbish\.npz"):
        read_prototypes(tmp_path / "rubbish.npz")
