import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from diffrig_emo.callbacks.store_writer import StoreWriterCallback
from diffrig_emo.datasets import CodeStore, StoreLockedError, merge
from diffrig_emo.modules import FaceEncoder
from diffrig_emo.morphable.base import MorphableEncoder
from diffrig_emo.structures import FaceBatch, FaceCodes, FaceCrop, face_collate
from diffrig_emo.transforms.projection import project
from tests.fakes import FakeHead, fake_codes


class Brightness(MorphableEncoder):
    """The mean of a picture is its expression; a black picture drives it mad."""

    space = "grey"
    image_size = 8

    def forward(self, crop):
        mean = crop.image.mean(dim=(1, 2, 3))[:, None]
        zeros = FaceCodes.zeros(len(mean), n_shape=1, n_tex=1, n_exp=1, space=self.space)
        return zeros.replace(exp=mean / (mean > 0))


class Greys(Dataset[FaceBatch]):
    """Labelled faces of any data set, without crops: 0 black to 1 white."""

    def __init__(self, count=5):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return FaceBatch(
            image=torch.full((3, 16, 16), index / 4),
            label=torch.tensor(index),
            va=torch.tensor([index / 10, torch.nan]),
            landmarks=torch.full((68, 2), torch.nan if index == 1 else float(index)),
            path=f"grey/{index}.png",
            index=torch.tensor(index),
            source="greys",
        )


def predict(path, dataset):
    writer = StoreWriterCallback(str(path), {"encoder": "Brightness"})
    trainer = L.Trainer(
        accelerator="cpu",
        callbacks=[writer],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(dataset, batch_size=2, collate_fn=face_collate)
    trainer.predict(FaceEncoder(Brightness()), loader, return_predictions=False)


def test_any_data_set_keeps_what_it_knows(tmp_path):
    predict(tmp_path / "faces.h5", Greys())
    store = CodeStore(tmp_path / "faces.h5")
    assert [note["key"] for note in store.notes()] == [f"grey/{n}.png" for n in (1, 2, 3, 4)]
    torch.testing.assert_close(store.codes().exp[:, 0], torch.tensor([0.25, 0.5, 0.75, 1]))
    assert store.column("label").tolist() == [1, 2, 3, 4]
    face = store[1]
    assert face["source"] == "greys"
    torch.testing.assert_close(face["va"], torch.tensor([0.2, torch.nan]), equal_nan=True)
    assert torch.equal(face["landmarks"], torch.full((68, 2), 2.0))
    assert store[0]["landmarks"].isnan().all()
    assert list(store.skipped) == ["grey/0.png"]
    assert "exp: expected finite" in store.skipped["grey/0.png"]


def test_faces_that_are_predicted_again_are_not_stored_again(tmp_path):
    predict(tmp_path / "faces.h5", Greys(3))
    predict(tmp_path / "faces.h5", Greys(5))
    assert CodeStore(tmp_path / "faces.h5").column("label").tolist() == [1, 2, 3, 4]


def test_a_failure_keeps_complete_faces_and_unlocks(tmp_path):
    class Torn(Greys):
        def __getitem__(self, index):
            if index == 4:
                raise RuntimeError("torn")
            return super().__getitem__(index)

    with pytest.raises(RuntimeError, match="torn"):
        predict(tmp_path / "faces.h5", Torn())
    assert not (tmp_path / "faces.h5").exists()

    predict(tmp_path / "faces.h5", Greys())
    assert len(CodeStore(tmp_path / "faces.h5")) == 4


def test_a_store_that_another_one_writes_is_refused(tmp_path):
    first = StoreWriterCallback(str(tmp_path / "faces.h5"), {"encoder": "Brightness"})
    first.open()
    with pytest.raises(StoreLockedError, match="is writing this store"):
        predict(tmp_path / "faces.h5", Greys())
    first.close()
    predict(tmp_path / "faces.h5", Greys())


def test_landmarks_of_the_mesh_fill_the_gaps_and_are_marked(tmp_path):
    codes = fake_codes(2)
    screen = project(FakeHead()(codes).landmarks2d, codes.cam)[..., :2]
    known = torch.full((2, 68, 2), torch.nan)
    known[0] = 3
    writer = StoreWriterCallback(str(tmp_path / "faces.h5"), {"encoder": "fake"}, face_model=FakeHead(), image_size=16)
    whole = FaceCrop(image=torch.zeros(2, 3, 8, 8))
    writer.write(codes, {"path": ["a.png", "b.png"], "landmarks": known})
    writer.write(codes, {"path": ["c.png", "d.png"], "crop": whole})
    writer.write(codes, {"path": ["e.png", "f.png"], "crop": whole.replace(landmarks=known)})
    writer.close()
    merge(tmp_path / "faces.h5")
    store = CodeStore(tmp_path / "faces.h5")
    np.testing.assert_equal(store.column("quality_landmarks"), [np.nan, 0, 0, 0, np.nan, 0])
    wanted = ((screen + 1) * 16 / 2 - 0.5).numpy()  # pixel j has its centre at (2 j + 1) / 16 - 1
    found = store.column("landmarks")
    np.testing.assert_allclose(found[[1, 2, 3, 5]], wanted[[1, 0, 1, 1]], atol=1e-4)
    assert (found[[0, 4]] == 3).all()
    assert [bool(store[i]["landmarks"].isnan().any()) for i in range(6)] == [False, True, True, True, False, True]
