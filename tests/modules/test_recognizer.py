import csv
import itertools
from functools import partial

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from diffrig_emo.cli import main
from diffrig_emo.losses import EmotionLoss, class_weights
from diffrig_emo.metrics.functional import EMOTIONS
from diffrig_emo.modules import ExpressionRecognizer
from diffrig_emo.perception import EmotionPrediction, FaceAugmentation, TimmEmotionRecognizer
from diffrig_emo.structures import face_collate
from diffrig_emo.synthesis import SyntheticFaces
from diffrig_emo.synthesis.writers import write_affectnet_csv
from tests.fakes import FakeFaces

NAN = float("nan")


class Faces(Dataset):
    """Pictures of one colour for each emotion; some labels, valences and arousals may be unknown."""

    def __init__(self, labels, va=True, tells=True):
        self.label = torch.tensor(labels)
        self.colours = torch.tensor(list(itertools.product([0.1, 0.9], repeat=3)))
        self.va = va
        if tells:
            self.labels = self.label.numpy()

    def __len__(self):
        return len(self.label)

    def __getitem__(self, index):
        label = self.label[index]
        image = self.colours[label][:, None, None].expand(-1, 16, 16)
        va = torch.tensor([0.1 * label, -0.1 * label]) if self.va else torch.full((2,), NAN)
        return {"image": image, "label": label, "va": va, "index": torch.tensor(index)}


def loader(dataset, batch_size=8):
    return DataLoader(dataset, batch_size=batch_size, collate_fn=face_collate)


def module(**settings):
    return ExpressionRecognizer(TimmEmotionRecognizer("test_resnet", image_size=32, feature_dim=8), **settings)


def trainer(tmp_path, **settings):
    return L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        **settings,
    )


def test_it_learns_and_reports(tmp_path):
    faces = Faces([0, 1, 2, 3, 4, 5, 6, 7] * 2)
    model = module(
        augmentation=FaceAugmentation(brightness=0, contrast=0), optimizer=partial(torch.optim.Adam, lr=5e-3)
    )
    run = trainer(tmp_path, max_steps=60, check_val_every_n_epoch=60)
    run.fit(model, loader(faces, batch_size=16), loader(faces, batch_size=16))
    logged = run.callback_metrics
    assert logged["val/accuracy"] == logged["val/mean_accuracy"] == 1
    assert all(logged[f"val/accuracy_{name}"] == 1 for name in EMOTIONS)
    assert logged["val/ccc_valence"] > 0.8
    assert {"train/loss", "train/label", "train/concordance", "val/ccc_arousal"} <= logged.keys()
    with (tmp_path / "confusion_val.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0][1:] == list(EMOTIONS)
    assert [int(row[i + 1]) for i, row in enumerate(rows[1:])] == [2] * 8
    predictions = EmotionPrediction.cat(run.predict(model, loader(faces)))
    assert predictions.label.tolist() == faces.label.tolist()


def test_faces_without_some_truth_are_learnt_from(tmp_path):
    faces = Faces([0, 1, -1, -1, 1, 0, -1, -1], va=False)
    run = trainer(tmp_path, max_steps=4)
    run.fit(module(), loader(faces, batch_size=2), loader(faces, batch_size=2))
    assert all(value.isfinite() for value in run.callback_metrics.values())
    assert "val/accuracy_happy" in run.callback_metrics
    assert not {"val/accuracy_sad", "val/ccc_valence"} & run.callback_metrics.keys()


def test_batches_without_labels_or_valence_and_arousal_cost_nothing():
    model = module()
    model.log = model.log_dict = lambda *a, **k: None
    image = torch.rand(2, 3, 16, 16)
    assert model.training_step({"image": image}, 0) == 0
    assert model.training_step({"image": image, "label": torch.tensor([1, 2])}, 0) > 0
    assert model.training_step({"image": image, "va": torch.rand(2, 2)}, 0) > 0
    assert model.validation_step({"image": image}, 0) == 0


@pytest.mark.parametrize("faces", [Faces([-1] * 4, va=False), FakeFaces(4)], ids=["unknown", "absent"])
def test_a_data_set_that_teaches_nothing_is_refused(faces, tmp_path):
    with pytest.raises(ValueError, match="have neither labels nor valence and arousal; train on labelled faces"):
        trainer(tmp_path, max_steps=1).fit(module(), loader(faces, batch_size=2))


def test_valence_and_arousal_alone_are_enough(tmp_path):
    model = module()
    before = model.recognizer.linear.weight.detach().clone()
    trainer(tmp_path, max_steps=1).fit(model, loader(Faces([-1] * 4), batch_size=2))
    moved = (model.recognizer.linear.weight - before).abs().amax(dim=1)
    assert (moved[8:] > 0).all()  # valence and arousal
    assert not moved[:8].any()  # no label, nothing learnt of labels


def test_rare_classes_weigh_more_when_asked(tmp_path):
    faces = Faces([0, 0, 0, 1, -1, -1])
    model = module(class_balance="inverse")
    trainer(tmp_path, max_steps=1).fit(model, loader(faces, batch_size=2))
    torch.testing.assert_close(model.loss.class_weight[:3], torch.tensor([2 / 3, 2.0, 0.0]))
    assert not any("class_weight" in name for name in model.state_dict())
    given = module(class_balance="effective", class_counts=[30, 10])
    trainer(tmp_path, max_steps=1).fit(given, loader(Faces([0, 1], tells=False), batch_size=2))
    torch.testing.assert_close(given.loss.class_weight, class_weights([30, 10, 0, 0, 0, 0, 0, 0]))


def test_counts_that_nobody_knows_are_asked_for(tmp_path):
    with pytest.raises(ValueError, match="Faces does not tell its labels in advance; give class_counts"):
        trainer(tmp_path, max_steps=1).fit(
            module(class_balance="inverse"), loader(Faces([0, 1], tells=False), batch_size=2)
        )


def test_randomness_comes_from_seed_and_step(tmp_path):
    def losses(seed, interfere):
        torch.manual_seed(0)
        model = module(augmentation=FaceAugmentation(), loss=EmotionLoss(shake=True), seed=seed)
        torch.manual_seed(interfere)
        run = trainer(tmp_path, max_steps=3)
        run.fit(model, loader(Faces([0, 1, 2, 3] * 3), batch_size=4))
        return run.callback_metrics["train/loss"]

    assert losses(0, interfere=1) == losses(0, interfere=2) != losses(1, interfere=1)


def test_a_checkpoint_gives_the_same_emotions(tmp_path):
    model = module().eval()
    run = trainer(tmp_path, max_steps=1)
    run.fit(model, loader(Faces([0, 1, 2, 3]), batch_size=2))
    run.save_checkpoint(tmp_path / "r.ckpt")
    torch.load(tmp_path / "r.ckpt", weights_only=True)
    other = ExpressionRecognizer.load_from_checkpoint(
        tmp_path / "r.ckpt", recognizer=TimmEmotionRecognizer("test_resnet", image_size=32, feature_dim=8)
    )
    image = torch.rand(2, 3, 16, 16)
    assert torch.equal(other.eval()(image).logits, model.eval()(image).logits)


def test_too_many_counts_are_refused():
    with pytest.raises(ValueError, match="class_counts: expected at most 8 numbers, got 9"):
        module(class_counts=[1] * 9)


def test_the_affectnet_config_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_affectnet_csv(SyntheticFaces(num_faces=8, image_size=32), "affectnet")
    arguments = ["--config", "fit_recognizer_affectnet.yaml", "--trainer.accelerator=cpu", "--trainer.max_epochs=1"]
    arguments += ["--trainer.logger=false", "--trainer.limit_train_batches=1", "--trainer.limit_val_batches=1"]
    arguments += ["--trainer.val_check_interval=1.0", "--trainer.enable_progress_bar=false"]
    arguments += ["--trainer.enable_model_summary=false"]
    arguments += ["--data.init_args.batch_size=2", "--data.init_args.num_workers=0", "--data.init_args.image_size=32"]
    arguments += ["--model.init_args.recognizer.init_args.model_name=test_resnet"]
    arguments += ["--model.init_args.recognizer.init_args.image_size=32"]
    main(["fit", *arguments])
    checkpoint = next(tmp_path.rglob("last.ckpt"))
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 1
    assert (tmp_path / "confusion_val.csv").is_file()
