"""What a store says of its photos: where faces lie in them, their landmarks, which photos they are."""

import shutil

import numpy as np
import pytest
import torch

import diffrig_emo.workflows.prepare as module
from diffrig_emo.conditioning import landmarks_from_codes
from diffrig_emo.datasets import Album, CodeStore, merge
from diffrig_emo.datasets.detectors import DetectedFaces, FaceDetector
from diffrig_emo.datasets.photos import crop_photo
from diffrig_emo.datasets.quality import select_faces
from diffrig_emo.io.images import write_image
from tests.fakes import FakeHead, fake_codes
from tests.preparing import MeanColours, Middle, content, run, write_photos


def test_pictures_that_are_not_stored_are_cut_out_of_the_photos(tmp_path):
    write_image(tmp_path / "photos" / "wide.png", torch.rand(3, 32, 64))
    run(tmp_path / "photos", tmp_path / "faces.h5")
    crop = crop_photo(tmp_path / "photos" / "wide.png", 32, Middle(), 32)
    store = CodeStore(tmp_path / "faces.h5", image_root=tmp_path / "photos")
    assert store.image_size == 32
    assert torch.equal(store[0]["image"], crop.aligned[0])
    with pytest.raises(ValueError, match=r"image_size: .*prepared for 32 pixels, .* got 64"):
        CodeStore(tmp_path / "faces.h5", image_root=tmp_path / "photos", image_size=64)


class Known(FaceDetector):
    """A face at the photo's border, by its landmarks."""

    def __call__(self, photo):
        points = torch.zeros(68, 2)
        points[:17] = torch.stack([torch.linspace(-1, 1, 17), torch.ones(17)], 1)
        points[36:42], points[42:48] = torch.tensor([[-0.45, -0.3], [0.45, -0.2]])
        points[48], points[54] = torch.tensor([[-0.3, 0.6], [0.3, 0.7]])
        return DetectedFaces.from_landmarks(points[None] * 12 + torch.tensor([14.0, 20.0]))


def test_aligned_pictures_are_cut_out_again_bit_for_bit_borders_included(tmp_path):
    write_image(tmp_path / "photos" / "wide.png", torch.rand(3, 50, 64))
    run(tmp_path / "photos", tmp_path / "faces.h5", detector=Known())
    run(tmp_path / "photos", tmp_path / "with.h5", detector=Known(), store_images=True)
    crop = crop_photo(tmp_path / "photos" / "wide.png", 32, Known(), 32)
    face = CodeStore(tmp_path / "faces.h5", image_root=tmp_path / "photos")[0]
    assert torch.equal(face["image"], crop.aligned[0])
    assert face["image"].min() > 0, "nothing black where the square leaves the photo"
    assert abs(face["image"] - CodeStore(tmp_path / "with.h5")[0]["image"]).mean() < 0.02  # JPEG
    torch.testing.assert_close(face["landmarks"], crop.landmarks[0])
    album = Album(tmp_path / "photos", image_size=32, store=tmp_path / "faces.h5")
    assert torch.equal(album[0]["image"], crop.aligned[0])
    torch.testing.assert_close(album[0]["landmarks"], crop.landmarks[0])


def test_landmarks_of_the_mesh_stand_in_and_are_no_truth(tmp_path, monkeypatch):
    class Encoder(MeanColours):
        space = "fake"

        def forward(self, crop):
            return fake_codes(crop.batch_size).replace(tform=crop.tform)

    monkeypatch.setattr(module, "_face_model", lambda space: FakeHead() if space == "fake" else None)
    write_photos(tmp_path / "photos", 2)
    run(tmp_path / "photos", tmp_path / "boxes.h5", encoder=Encoder())
    store = CodeStore(tmp_path / "boxes.h5")
    assert store.column("quality_landmarks").tolist() == [0, 0]
    wanted = landmarks_from_codes(store.codes(), FakeHead(), 32).numpy()
    np.testing.assert_allclose(store.column("landmarks"), wanted, atol=1e-4)
    assert store[0]["landmarks"].isnan().all()
    with pytest.raises(ValueError, match="those of the encoded meshes"):
        select_faces(store, max_error=0.1, face_model=FakeHead())
    run(tmp_path / "photos", tmp_path / "points.h5", encoder=Encoder(), detector=Known())
    store = CodeStore(tmp_path / "points.h5")
    assert store.column("quality_landmarks").tolist() == [1, 1]
    assert select_faces(store, max_error=1e-4, face_model=FakeHead()).indices.tolist() == []
    assert select_faces(store, max_error=1e4, face_model=FakeHead()).indices.tolist() == [0, 1]


def test_folders_of_the_same_name_are_told_apart(tmp_path):
    output = tmp_path / "faces.h5"
    for seed, place in enumerate(("one", "two")):
        write_photos(tmp_path / place / "photos", 3, seed=seed)
    run(tmp_path / "one" / "photos", output)
    with pytest.raises(ValueError, match=r"000.png is not the photo that .*faces.h5 has .* --prefix two"):
        run(tmp_path / "two" / "photos", output)
    shutil.copytree(tmp_path / "one", tmp_path / "moved")
    run(tmp_path / "moved" / "photos", output)
    assert len(CodeStore(output)) == 3, "the same photos elsewhere are the same photos"
    run(tmp_path / "two" / "photos", output, prefix="two/photos")
    assert content(output).keys() == {
        f"{place}{letter}/00{n}.png" for place in ("", "two/photos/") for n, letter in enumerate("abc")
    }
    face = CodeStore(output, image_root=tmp_path)[-1]
    assert torch.equal(face["image"], crop_photo(tmp_path / face["path"], 32, Middle(), 32).aligned[0])
    run(tmp_path / "two" / "photos", tmp_path / "two.h5")
    with pytest.raises(ValueError, match=r"'a/000.png' in .*two.h5 is another photo"):
        merge(output, [tmp_path / "two.h5"])
