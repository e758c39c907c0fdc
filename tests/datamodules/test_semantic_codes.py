import numpy as np
import pytest
import torch

from diffrig_emo.datamodules import SemanticCodesDataModule, SyntheticFacesDataModule
from diffrig_emo.diffusion import SemanticEncoder
from diffrig_emo.transforms.ranges import to_signed


def encoder(image_size=16):
    return SemanticEncoder(image_size, 8, (1, 2), dim=12, num_res_blocks=1, attention_resolutions=())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("codes") / "last.ckpt"
    own = encoder()
    torch.save({"state_dict": {f"conditioners.0.encoder.{n}": t for n, t in own.state_dict().items()}}, path)
    return own.eval(), path


@pytest.fixture(scope="module")
def faces():
    return SyntheticFacesDataModule(num_train=6, num_val=3, num_test=3, image_size=16, batch_size=4)


def test_codes_are_those_of_the_trained_encoder_with_labels_in_order(trained, faces):
    own, path = trained
    data = SemanticCodesDataModule(faces, encoder(), str(path), mirrored=True, batch_size=5)
    data.setup("fit")
    photos = [faces.train_faces[i] for i in range(6)]
    image = to_signed(torch.stack([photo["image"] for photo in photos]))
    with torch.no_grad():
        expected = torch.cat([own(image), own(image.flip(-1))])
    torch.testing.assert_close(data.train_dataset.codes, expected, atol=1e-5, rtol=1e-5)
    labels = [int(photo["label"]) for photo in photos]
    assert data.train_dataset.labels.tolist() == 2 * labels
    assert len(data.val_dataset) == 3
    batch = next(iter(data.train_dataloader()))
    assert batch["semantic"].shape == (5, 12)
    torch.testing.assert_close(batch["semantic"], data.train_dataset.codes[batch["index"]])
    assert batch["label"].tolist() == data.train_dataset.labels[batch["index"]].tolist()
    data.setup("predict")
    assert len(data.predict_dataset) == 3


def test_the_faces_groups_hold_for_their_mirror_images_too(trained, faces, monkeypatch):
    groups = np.array([0, 0, 1, 1, 1, 0])
    monkeypatch.setattr(faces, "train_groups", lambda: (groups, np.array([1.0, 1.0])))
    data = SemanticCodesDataModule(faces, encoder(), str(trained[1]), mirrored=True)
    assert data.train_groups()[0].tolist() == [*groups, *groups]
    assert SemanticCodesDataModule(faces, encoder(), str(trained[1])).train_groups()[0] is groups


def test_pictures_of_another_size_and_missing_autoencoders_are_named(trained, faces):
    with pytest.raises(ValueError, match=r"built for pictures of .*32, 32.* got .*16, 16"):
        SemanticCodesDataModule(faces, encoder(32), str(trained[1])).setup("fit")
    with pytest.raises(FileNotFoundError, match="encoder_weights"):
        SemanticCodesDataModule(faces, encoder(), "nowhere.ckpt").setup("fit")
