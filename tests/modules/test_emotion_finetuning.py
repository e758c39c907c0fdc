from functools import partial
from typing import ClassVar

import pytest
import torch
from torch.nn import functional as F

from diffrig_emo.conditioning import EmotionLabelConditioner
from diffrig_emo.datamodules import InvertedFacesDataModule
from diffrig_emo.datasets import InvertedFaces, write_inverted_faces
from diffrig_emo.diffusion import LowRankAdapter, ScaledLinearSchedule
from diffrig_emo.modules import EmotionFinetuning
from diffrig_emo.perception import TextImageEmbedder
from diffrig_emo.structures import FaceBatch
from tests.modules.test_latent_diffusion import SCHEDULE, batch, denoiser, fit, network


class Words(TextImageEmbedder):
    """Pictures by their mean colour, texts by the emotion they name."""

    table: ClassVar = {"happy": [1.0, 0.0, 0.0], "sad": [0.0, 1.0, 0.0], "contemptuous": [0.5, 0.5, 0.0]}

    def __init__(self):
        super().__init__()
        self.asked = []

    def embed_image(self, image):
        return image.mean(dim=(2, 3))

    def embed_text(self, texts):
        self.asked += texts
        named = [next((v for word, v in self.table.items() if word in text), [0.1, 0.1, 1.0]) for text in texts]
        return torch.tensor(named)


class Colour(torch.nn.Module):
    def forward(self, image):
        return image.mean(dim=(2, 3))


def finetuning(**settings):
    torch.manual_seed(0)
    optimizer = settings.pop("optimizer", partial(torch.optim.AdamW, lr=5e-4))
    settings = {"embedder": Words(), "target": "happy", "autoencoder": network(), "latent_scale": None, **settings}
    settings = {"identity": Colour(), "num_inference_steps": 3, "chain_steps": 3, **settings}
    label = EmotionLabelConditioner(8, form="token", dropout=0.5)
    return EmotionFinetuning(
        denoiser(),
        [label],
        ScaledLinearSchedule(**SCHEDULE),
        templates=["a {}", "the {}"],
        optimizer=optimizer,
        **settings,
    )


def inverted(n=8):
    faces = batch(n)
    faces["latent"] = torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return faces


class Faces(torch.utils.data.Dataset):
    def __init__(self):
        self.batch = inverted()

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return {name: values[index] for name, values in self.batch.items()}


def test_only_the_denoiser_learns_and_the_loss_falls(tmp_path):
    model = finetuning()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    faces = inverted()
    first = total(model, faces)
    trainer = fit(model, tmp_path, steps=8, dataset=Faces(), enable_checkpointing=False)
    assert {"train/direction", "train/identity", "train/pixel"} <= set(trainer.logged_metrics)
    changed = {name.partition(".")[0] for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    assert changed == {"denoiser"}
    assert total(model, faces) < first


@torch.no_grad()
def total(model, faces):
    losses = model.losses(model.paint(faces, model.chain), faces)
    return sum(model.weights[f"{name}_weight"] * float(value.mean()) for name, value in losses.items())


def test_texts_depend_on_the_face_s_own_emotion():
    model = finetuning()
    rows = model.descriptions()
    assert "a happy face" in model.embedder.asked
    assert "a neutral face" not in model.embedder.asked, "neutral is just a face"
    assert "a contemptuous face" not in model.embedder.asked
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(9))
    torch.testing.assert_close(rows[0], rows[8])
    torch.testing.assert_close(rows[1], torch.tensor([1.0, 0.0, 0.0]))
    wanted = finetuning(target="contempt")
    wanted.descriptions()
    assert "a contemptuous face" in wanted.embedder.asked


def test_the_losses_are_the_closed_forms():
    model = finetuning(description_weight=1.0)
    faces = inverted(3)
    faces["label"] = torch.tensor([2, 1, 0])  # sad, happy already, neutral
    edit = torch.rand(3, 3, 16, 16)
    losses = model.losses(edit, faces)
    unit = F.normalize(edit.mean(dim=(2, 3)), dim=1) - F.normalize(faces["image"].mean(dim=(2, 3)), dim=1)
    happy, sad, face = (model.descriptions()[n] for n in (1, 2, 8))
    wanted = torch.stack([happy - sad, happy - face, happy - face])
    cosine = (F.normalize(unit, dim=1) * F.normalize(wanted, dim=1)).sum(dim=1)
    torch.testing.assert_close(losses["direction"], -torch.log((1 + cosine) / 2), rtol=1e-4, atol=1e-5)
    before, after = (F.normalize(x.mean(dim=(2, 3)), dim=1) for x in (faces["image"], edit))
    torch.testing.assert_close(losses["identity"], 1 - (before * after).sum(dim=1))
    torch.testing.assert_close(losses["description"], 1 - after[:, 0])
    squares = ((2 * edit - 1) - (2 * faces["image"] - 1)).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(losses["pixel"], squares)


def test_true_edits_are_weighed_where_they_are_known():
    model, faces, edit = finetuning(truth_weight=2.0), inverted(3), torch.rand(3, 3, 16, 16)
    faces["true_edit"] = torch.rand(3, 3, 16, 16)
    wanted = ((2 * edit - 1) - (2 * faces["true_edit"] - 1)).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(model.losses(edit, faces)["truth"], wanted)
    with pytest.raises(ValueError, match="true_edits"):
        model.losses(edit, inverted(3))
    assert "truth" not in finetuning().losses(edit, faces)


def test_pixels_count_by_how_much_the_true_edit_changes_around_them():
    faces = inverted(2)
    faces["image"] = torch.full((2, 3, 16, 16), 0.5)
    faces["true_edit"] = faces["image"].clone()
    faces["true_edit"][0, :, 5:10, 5:10] += 0.4
    edit = faces["true_edit"].clone()
    edit[:, :, 7, 7] += 0.1  # where it changes most
    edit[:, :, 0, 0] += 0.1  # where it changes nothing
    plain, weighed = (finetuning(truth_weight=1.0, changed_weight=w).losses(edit, faces)["truth"] for w in (0.0, 3.0))
    error = (2 * 0.1) ** 2 / 256
    torch.testing.assert_close(plain, torch.full((2,), 2 * error))
    torch.testing.assert_close(weighed, torch.tensor([4 * error + error, 2 * error]))


def test_checkpointing_changes_no_gradient():
    gradients = []
    for checkpointing in (True, False):
        model, faces = finetuning(checkpointing=checkpointing), inverted(2)
        model.losses(model.paint(faces, model.chain), faces)["pixel"].mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.denoiser.parameters() if p.grad is not None]))
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(*gradients)


def test_low_rank_adapters_can_learn_instead(tmp_path):
    pytest.importorskip("peft")
    model = finetuning(adapter=LowRankAdapter(rank=2, targets=("to_q", "to_out")))
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert names
    assert all("lora" in name for name in names)
    fit(model, tmp_path, steps=1, dataset=Faces(), enable_checkpointing=False)


def test_labels_are_not_dropped_in_training():
    model = finetuning().train()
    assert model.denoiser.training
    assert not model.conditioners.training
    faces = inverted(2)
    assert torch.equal(model.paint(faces, model.chain), model.paint(faces, model.chain))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"target": "joy"}, "target"),
        ({"pixel_weight": -1.0}, "pixel_weight"),
        ({"changed_weight": -1.0}, "changed_weight"),
        ({"changed_weight": 1.0}, "truth_weight is 0"),
        ({"chain_steps": 1}, "num_inference_steps"),
    ],
)
def test_bad_settings_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        finetuning(**settings)


def test_faces_without_latents_are_refused():
    with pytest.raises(ValueError, match="invert-emotions"):
        finetuning().predict_step(batch())


def test_inverted_faces_come_back_and_are_split(tmp_path):
    path, faces = tmp_path / "inverted.safetensors", inverted()
    write_inverted_faces(path, faces, last_step=500)
    read = InvertedFaces(path)
    assert (len(read), read.last_step) == (8, 500)
    item = read[3]
    assert torch.equal(item["latent"], faces["latent"][3])
    assert item["label"].item() == 3
    assert (item["image"] - faces["image"][3]).abs().max() <= 0.5 / 255 + 1e-6
    data = InvertedFacesDataModule(str(path), num_val=2, batch_size=3)
    train, held = next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))
    assert train["latent"].shape == (3, 4, 8, 8)
    assert held["index"].tolist() == [6, 7]
    with pytest.raises(ValueError, match="num_val"):
        InvertedFacesDataModule(str(path), num_val=8)


def test_faces_of_a_scene_come_with_the_one_that_shows_the_emotion(tmp_path):
    path, faces = tmp_path / "inverted.safetensors", inverted()
    faces["label"] = torch.tensor([0, 1, 2, 2, 1, 0, 3, 4])
    write_inverted_faces(path, faces, last_step=500, scene=torch.tensor([7, 7, 7, 3, 3, 3, 5, 5]))
    pairs = InvertedFacesDataModule(str(path), num_val=1, true_edits="happy")
    held = [*pairs.train_dataset, *pairs.val_dataset]
    assert [int(item["index"]) for item in held] == [0, 1, 2, 3, 4, 5], "the third scene has no happy face"
    for item, shown in zip(held, (1, 1, 1, 4, 4, 4), strict=True):
        assert (item["true_edit"] - faces["image"][shown]).abs().max() <= 0.5 / 255 + 1e-6
        assert item["target_label"] == 1
    assert InvertedFaces(path, "happy").labels.tolist() == [0, 1, 2, 2, 1, 0]
    assert "true_edit" not in InvertedFaces(path)[0]
    with pytest.raises(ValueError, match="no scene of"):
        InvertedFaces(path, "contempt")
    with pytest.raises(ValueError, match="expected one of neutral"):
        InvertedFaces(path, "joy")
    with pytest.raises(ValueError, match="scene: expected one number per face, 8"):
        write_inverted_faces(path, faces, last_step=500, scene=torch.zeros(7, dtype=torch.long))
    write_inverted_faces(path, faces, last_step=500)
    with pytest.raises(ValueError, match="--scenes"):
        InvertedFaces(path, "happy")


def test_faces_can_come_with_every_emotion_of_their_scene(tmp_path):
    path, faces = tmp_path / "inverted.safetensors", inverted(5)
    faces["label"] = torch.tensor([0, 2, 1, 1, 4])
    write_inverted_faces(path, faces, last_step=500, scene=torch.tensor([7, 7, 7, 5, 5]))
    data = InvertedFacesDataModule(str(path), num_val=2, true_edits="all")
    asked = [
        [(int(item["index"]), int(item["target_label"]), item["true_edit"]) for item in part]
        for part in (data.train_dataset, data.val_dataset)
    ]
    assert [pair[:2] for pair in asked[0]] == [(face, target) for face in (0, 1, 2) for target in (0, 1, 2)]
    assert [pair[:2] for pair in asked[1]] == [(face, target) for face in (3, 4) for target in (1, 4)]
    place = {(7, 0): 0, (7, 2): 1, (7, 1): 2, (5, 1): 3, (5, 4): 4}
    for face, target, picture in [*asked[0], *asked[1]]:
        shown = place[7 if face < 3 else 5, target]
        assert (picture - faces["image"][shown]).abs().max() <= 0.5 / 255 + 1e-6
    with pytest.raises(ValueError, match="num_val: expected 1 to 4"):
        InvertedFacesDataModule(str(path), num_val=5, true_edits="all")


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="invert-emotions"):
        InvertedFaces(tmp_path / "none.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="torn"):
        InvertedFaces(tmp_path / "torn.safetensors")
    with pytest.raises(ValueError, match="got none of latent"):
        write_inverted_faces(tmp_path / "a.safetensors", batch(), last_step=500)


def test_latents_of_another_level_are_refused(tmp_path):
    path = tmp_path / "inverted.safetensors"
    write_inverted_faces(path, FaceBatch(**inverted()), last_step=800)
    model = finetuning()
    model._trainer = type("T", (), {"datamodule": InvertedFacesDataModule(str(path), num_val=2)})()
    with pytest.raises(ValueError, match="step 800"):
        model.on_fit_start()
