"""Collating items of datasets."""

from __future__ import annotations

import pytest
import torch

from diffrig_emo.structures import FaceCodes, StructError, face_collate


def _item(number, **changes):
    codes = FaceCodes.zeros(1, n_shape=2, n_tex=2, n_exp=2, space="s")
    return {
        "image": torch.full((3, 4, 5), float(number)),
        "codes": codes.replace(exp=torch.full((1, 2), float(number))),
        "label": torch.tensor(number),
        "va": torch.tensor([0.5, float("nan")]),
        "index": number,
        "path": f"{number}.png",
        **changes,
    }


def test_every_kind_of_value_is_collated():
    batch = face_collate([_item(0), _item(1), _item(2)])
    assert tuple(batch["image"].shape) == (3, 3, 4, 5)
    assert batch["codes"].batch_size == 3
    assert batch["codes"].exp[:, 0].tolist() == [0, 1, 2]
    assert batch["label"].tolist() == [0, 1, 2]
    assert batch["index"].dtype == torch.int64
    assert batch["path"] == ["0.png", "1.png", "2.png"]
    assert batch["va"][:, 1].isnan().all()


def test_no_items_raise():
    with pytest.raises(StructError, match="expected at least one item, got an empty list"):
        face_collate([])


def test_items_with_other_keys_are_named():
    other = _item(1)
    del other["path"]
    with pytest.raises(StructError, match=r"item 1 and item 0 differ in the keys \['path'\]"):
        face_collate([_item(0), other])


def test_pictures_of_several_sizes_are_named():
    with pytest.raises(StructError, match=r"'image' has different sizes within a batch: \[\(3, 4, 5\), \(3, 4, 6\)\]"):
        face_collate([_item(0), _item(1, image=torch.zeros(3, 4, 6))])


def test_spaces_do_not_mix():
    flame = FaceCodes.zeros(1, n_shape=2, n_tex=2, n_exp=2, space="flame2020")
    with pytest.raises(StructError, match=r"FaceCodes.space differs within one batch"):
        face_collate([_item(0), _item(1, codes=flame)])
