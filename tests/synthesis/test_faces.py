from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from diffrig_emo.morphable.synthetic_head import SyntheticHead, SyntheticTexture, emotion_preset
from diffrig_emo.renderer import BufferRenderer
from diffrig_emo.structures import StructError, face_collate
from diffrig_emo.synthesis import SyntheticFaces


def out_of_view(codes):
    cam = codes.cam.clone()
    cam[:, 1] = 10.0
    return codes.replace(cam=cam)


@pytest.fixture(scope="module")
def buffers(faces):
    codes = faces.codes()
    head, texture = SyntheticHead(), SyntheticTexture()
    with torch.no_grad():
        return BufferRenderer(faces.image_size)(head(codes), head.topology, texture(codes.tex), codes)


def test_item_contract(faces):
    item = faces[5]
    assert item["image"].shape == (3, 32, 32)
    assert item["image"].dtype == torch.float32
    assert 0 <= item["image"].min() < item["image"].max() <= 1
    assert item["codes"].batch_size == 1
    assert item["codes"].space == "synthetic1"
    assert item["label"].dtype == torch.int64
    assert item["va"].shape == (2,)
    assert item["landmarks"].shape == (68, 2)
    assert (item["path"], int(item["index"]), item["source"]) == ("synthetic://3/5", 5, "synthetic")
    assert face_collate([faces[0], item])["codes"].batch_size == 2


def test_pictures_are_whole_bytes_after_jpeg(faces):
    levels = faces[0]["image"] * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-4, rtol=0)


def test_a_face_depends_on_seed_and_index_alone(faces):
    together = next(faces.batches(batch_size=12))["image"]
    shuffled = next(faces.batches(batch_size=5, indices=[7, 0, 11, 3, 4]))["image"]
    loaded = torch.cat([b["image"] for b in DataLoader(faces, batch_size=4, collate_fn=face_collate)])
    other = SyntheticFaces(num_faces=30, image_size=32, seed=3, images_per_identity=2)
    assert torch.equal(shuffled, together[[7, 0, 11, 3, 4]])
    assert torch.equal(loaded, together)
    assert torch.equal(faces[11]["image"], together[11])
    assert torch.equal(other[11]["image"], together[11])
    assert torch.equal(pickle.loads(pickle.dumps(faces))[7]["image"], together[7])


def test_indices_count_from_the_end(faces):
    assert faces[-1]["path"] == "synthetic://3/11"
    with pytest.raises(IndexError, match="12 faces"):
        faces[12]


def test_seeds_and_faces_differ(faces):
    other = SyntheticFaces(num_faces=1, image_size=32, seed=4)
    assert (faces[0]["image"] - other[0]["image"]).abs().mean() > 0.02
    assert not torch.equal(faces.codes([0]).shape, other.codes().shape)


def test_album_shows_one_person_in_other_circumstances(faces):
    first, second, stranger = (faces.codes([i]) for i in (0, 1, 2))
    assert torch.equal(first.shape, second.shape)
    assert torch.equal(first.tex, second.tex)
    assert not torch.equal(first.shape, stranger.shape)
    for name in ("exp", "pose", "light", "cam"):
        assert not torch.equal(getattr(first, name), getattr(second, name)), name
    # no head in view: what is left is the background, and it belongs to the picture
    codes = out_of_view(faces.codes([0, 1]))
    empty = faces.photograph([0, 1], codes=codes, clean=True)
    assert (empty[0] - empty[1]).abs().mean() > 0.01


def test_label_and_va_follow_the_preset(faces):
    truth = faces.truth()
    for label, va in zip(truth["label"].tolist(), truth["va"], strict=True):
        preset = torch.tensor(emotion_preset(label)[2:])
        strength = float(va @ preset) / max(float(preset @ preset), 1e-9)
        torch.testing.assert_close(va, strength * preset, atol=1e-6, rtol=0)
        assert label == 0 or 0.6 <= strength <= 1.1


def test_truth_is_the_item_without_its_picture(faces):
    truth = faces.truth([4, 9])
    assert "image" not in truth
    for place, index in enumerate((4, 9)):
        item = faces[index]
        for name in ("label", "va", "landmarks", "index"):
            assert torch.equal(truth[name][place], item[name]), name
        assert torch.equal(truth["codes"].exp[place], item["codes"].exp[0])


def test_landmarks_are_projected_and_lie_on_the_face(faces, buffers):
    truth = faces.truth()
    points = SyntheticHead()(truth["codes"]).landmarks2d.numpy()
    scale, tx, ty = truth["codes"].cam.numpy().T[..., None]
    x = (scale * (points[..., 0] + tx) + 1) / 2 * 32 - 0.5
    y = (1 - scale * (points[..., 1] + ty)) / 2 * 32 - 0.5
    np.testing.assert_allclose(truth["landmarks"].numpy(), np.stack([x, y], axis=-1), atol=1e-4)
    near = torch.nn.functional.max_pool2d(buffers.mask, 3, stride=1, padding=1)
    column, row = truth["landmarks"].round().long().clamp(0, 31).unbind(-1)
    on_face = near[torch.arange(len(near))[:, None], 0, row, column]
    assert on_face.mean() > 0.99


def test_unedited_photograph_is_the_photograph(faces, clean):
    indices = [1, 8]
    noiseless = SyntheticFaces(num_faces=12, image_size=32, seed=3, images_per_identity=2, noise=False)
    noisy = torch.stack([faces[i]["image"] for i in indices])
    assert torch.equal(noiseless[8]["image"], clean[8])
    assert torch.equal(faces.photograph(indices, codes=faces.codes(indices), clean=True), clean[indices])
    assert torch.equal(faces.photograph(indices, donor_indices=indices), noisy)
    error = (noisy - clean[indices]).square().mean().sqrt()
    assert 0 < error < 0.05


def test_skin_is_that_of_the_buffers(faces, clean, buffers):
    """Where nothing lies over the skin, the photograph's diffuse colour is the rendered buffer."""
    cheeks = faces.truth()["landmarks"][:, [1, 15, 30, 33]].mean(dim=1).round().long()
    middle = [(i, slice(None), int(y), int(x)) for i, (x, y) in enumerate(cheeks.tolist())]
    photo = torch.stack([clean[place] for place in middle])
    rendered = torch.stack([buffers.rendered[place] for place in middle])
    assert (photo - rendered).abs().median() < 0.06
    assert np.corrcoef(photo.flatten(), rendered.flatten())[0, 1] > 0.9


def test_expression_edit_leaves_the_background_alone(faces, clean):
    indices = [0, 2, 4, 6, 8]
    codes = faces.codes(indices)
    jaw_pose = codes.jaw_pose.roll(1, 0)
    edited = codes.replace(exp=codes.exp.roll(1, 0), pose=torch.cat([codes.global_rotation, jaw_pose], dim=1))
    before, after = clean[indices], faces.photograph(indices, edited, clean=True)
    empty = faces.photograph(indices, codes=out_of_view(codes), clean=True)
    background = ((before - empty).abs().amax(1) == 0) & ((after - empty).abs().amax(1) == 0)
    assert background.float().mean() > 0.2
    changed = (before - after).abs().amax(1) > 8 / 255
    assert changed.flatten(1).any(1).all()
    # the skull does not move: above the brows hardly anything changes
    assert changed[:, :8].float().mean() < 0.1 * changed[:, 8:28].float().mean()


def test_light_edit_moves_the_bright_side(faces):
    indices = [0, 2, 4]
    codes = faces.codes(indices)
    light = torch.zeros_like(codes.light)
    light[:, 0] = 2.0
    light[:, 1] = 0.5
    mirrored = light.clone()
    mirrored[:, 1] *= -1
    codes = codes.replace(pose=torch.zeros_like(codes.pose), cam=torch.tensor([[7.5, 0.0, 0.0]]).repeat(3, 1))
    right = faces.photograph(indices, codes.replace(light=light), clean=True)[:, :, 10:22, 10:22].mean((0, 1, 2))
    left = faces.photograph(indices, codes.replace(light=mirrored), clean=True)[:, :, 10:22, 10:22].mean((0, 1, 2))
    assert right[6:].mean() > right[:6].mean() + 0.05
    assert left[:6].mean() > left[6:].mean() + 0.05


def test_donor_lends_background_hair_and_glasses_but_not_the_skin(faces, clean):
    codes = faces.codes([0])
    donated = faces.photograph([0], codes=out_of_view(codes), donor_indices=[6], clean=True)
    own = faces.photograph([6], codes=out_of_view(faces.codes([6])), clean=True)
    assert torch.equal(donated, own)
    face = faces.photograph([0], donor_indices=[6], clean=True)
    assert (face - clean[:1]).abs().mean() > 0.02
    # with everything of the donor's, codes included, only skin may differ from the donor's own picture
    almost = faces.photograph([0], codes=faces.codes([6]), donor_indices=[6], clean=True)
    assert (almost - clean[6:7]).abs().mean() < 0.03


def test_exposure_is_neither_black_nor_blown_out(clean, buffers):
    on_head = buffers.mask.bool().expand_as(clean)
    means = torch.stack([p[m].mean() for p, m in zip(clean, on_head, strict=True)])
    assert means.min() > 0.12
    assert means.max() < 0.85
    assert (clean[on_head] > 0.99).float().mean() < 0.02


def test_supersampling_smooths_edges():
    sharp = SyntheticFaces(num_faces=2, image_size=32, supersample=1, noise=False)
    smooth = SyntheticFaces(num_faces=2, image_size=32, supersample=3, noise=False)
    assert 0 < (sharp[0]["image"] - smooth[0]["image"]).abs().mean() < 0.05


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_faces", 0), ("image_size", 4), ("seed", -1), ("images_per_identity", 0), ("supersample", 0), ("seed", 1.5)],
)
def test_bad_arguments_are_named(name, value):
    with pytest.raises(ValueError, match=f"SyntheticFaces: {name} must be .* got {value}"):
        SyntheticFaces(**{"num_faces": 4, name: value})


def test_bad_photographs_are_refused(faces):
    codes = faces.codes([0, 1])
    with pytest.raises(ValueError, match="codes must hold one face per index: expected 1, got 2"):
        faces.photograph([0], codes=codes)
    with pytest.raises(ValueError, match="donor_indices must hold one donor per face: expected 2, got 1"):
        faces.photograph([0, 1], donor_indices=[3])
    with pytest.raises(ValueError, match="indices must name at least one face"):
        faces.photograph([])
    with pytest.raises(IndexError, match="donor_indices holds 99"):
        faces.photograph([0], donor_indices=[99])
    with pytest.raises(StructError, match="flame2020"):
        faces.photograph([0, 1], codes=codes.replace(space="flame2020"))
    with pytest.raises(StructError, match=r"FaceCodes\.exp.*item 1"):
        faces.photograph([0, 1], codes=codes.replace(exp=codes.exp * torch.tensor([[1.0], [torch.nan]])))
    with pytest.raises(ValueError, match=r"codes\.shape must have"):
        faces.photograph([0, 1], codes=codes.replace(shape=codes.shape[:, :5]))
    with pytest.raises(ValueError, match=r"codes\.tform must be None"):
        faces.photograph([0, 1], codes=codes.replace(tform=torch.eye(3).repeat(2, 1, 1)))
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        faces.batches(0)
