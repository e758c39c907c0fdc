"""The struct base: checked on construction, frozen, moved and joined as a whole."""

from __future__ import annotations

import dataclasses

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from diffrig_emo.structures import (
    Conditioning,
    FaceCodes,
    FaceCrop,
    FaceMesh,
    MeshTopology,
    PhysicalBuffers,
    StructError,
    face_collate,
)


def _buffers(batch=2, height=4, width=6, **changes):
    picture = torch.rand(batch, 3, height, width)
    fields = {"rendered": picture, "normal": picture, "albedo": picture, "mask": torch.ones(batch, 1, height, width)}
    return PhysicalBuffers(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"normal": torch.rand(2, 3, 4, 7)},
            r"PhysicalBuffers.normal: .* with width = 6 as in PhysicalBuffers.rendered",
        ),
        (
            {"normal": torch.rand(3, 3, 4, 6)},
            r"PhysicalBuffers.normal: .* with batch = 2 as in .*got float32 \(3, 3, 4, 6\)",
        ),
        (
            {"mask": torch.ones(2, 4, 6)},
            r"PhysicalBuffers.mask: expected a float tensor of shape \(batch, 1, height, width\)",
        ),
        ({"mask": torch.ones(2, 3, 4, 6)}, r"PhysicalBuffers.mask: expected .* got float32 \(2, 3, 4, 6\)"),
        ({"albedo": torch.zeros(2, 3, 4, 6, dtype=torch.int64)}, r"PhysicalBuffers.albedo: .*got int64.*\.to\(dtype\)"),
        ({"albedo": None}, r"PhysicalBuffers.albedo: expected .* got NoneType"),
        ({"albedo": [[0.0]]}, r"PhysicalBuffers.albedo: expected .* got list"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_wanted(changes, message):
    with pytest.raises(StructError, match=message):
        _buffers(**changes)


def test_structs_reject_empty_batches():
    with pytest.raises(
        StructError, match=r"PhysicalBuffers has an empty batch: PhysicalBuffers.rendered holds 0 items"
    ):
        _buffers(batch=0)


def test_mappings_are_checked_entry_by_entry():
    with pytest.raises(
        StructError, match=r"Conditioning.vectors\['b'\]: .* with batch = 2 as in Conditioning.vectors\['a'\]"
    ):
        Conditioning(vectors={"a": torch.zeros(2, 3), "b": torch.zeros(1, 5)})
    assert Conditioning(vectors={"a": torch.zeros(2, 3), "b": torch.zeros(2, 5)}).batch_size == 2


def test_absent_fields_are_not_checked():
    mesh = FaceMesh(vertices=torch.zeros(2, 9, 3), landmarks2d=torch.zeros(2, 68, 3), landmarks3d=torch.zeros(2, 68, 3))
    assert mesh.screen is None


def test_structs_are_frozen_and_keyword_only():
    buffers = _buffers()
    with pytest.raises(dataclasses.FrozenInstanceError):
        buffers.mask = torch.zeros(2, 1, 4, 6)
    with pytest.raises(TypeError):
        PhysicalBuffers(buffers.rendered, buffers.normal, buffers.albedo, buffers.mask)


def test_replace_checks_again():
    with pytest.raises(StructError, match=r"PhysicalBuffers.mask"):
        _buffers().replace(mask=torch.ones(2, 1, 9, 9))


def test_nothing_is_broadcast():
    with pytest.raises(StructError, match="with batch = 2"):
        _buffers(mask=torch.ones(1, 1, 4, 6))


def test_to_moves_all_and_casts_only_floats():
    crop = FaceCrop(image=torch.rand(2, 3, 4, 4), quality={"hits": torch.tensor([1, 2]), "score": torch.rand(2)})
    moved = crop.to(torch.float64)
    assert moved.image.dtype == torch.float64
    assert moved.quality["hits"].dtype == torch.int64
    assert moved.quality["score"].dtype == torch.float64
    assert crop.to("meta").quality["hits"].device.type == "meta"


def test_detach_cuts_every_tensor():
    rendered = torch.rand(2, 3, 4, 6, requires_grad=True)
    buffers = _buffers(rendered=rendered * 2)
    assert buffers.rendered.requires_grad
    assert not buffers.detach().rendered.requires_grad


@pytest.mark.parametrize(
    ("index", "wanted"),
    [
        (1, [1]),
        (-1, [3]),
        (slice(1, 3), [1, 2]),
        ([3, 0], [3, 0]),
        (torch.tensor([2, 2]), [2, 2]),
        (torch.tensor([True, False, False, True]), [0, 3]),
    ],
)
def test_indexing_selects_faces_and_keeps_the_batch_axis(index, wanted):
    buffers = _buffers(batch=4)
    chosen = buffers[index]
    assert chosen.batch_size == len(wanted)
    assert torch.equal(chosen.rendered, buffers.rendered[wanted])


@pytest.mark.parametrize("index", [4, -5])
def test_indexing_beyond_the_batch_raises(index):
    with pytest.raises(IndexError, match=f"item {index} of a PhysicalBuffers of batch size 4"):
        _buffers(batch=4)[index]


def test_iterating_ends():
    assert [item.batch_size for item in _buffers(batch=3)] == [1, 1, 1]


def test_cat_is_the_inverse_of_iterating():
    buffers = _buffers(batch=3)
    assert torch.equal(PhysicalBuffers.cat(list(buffers)).normal, buffers.normal)


def test_cat_refuses_what_does_not_belong_together():
    codes = FaceCodes.zeros(1, n_shape=2, n_tex=2, n_exp=2, space="a")
    with pytest.raises(StructError, match=r"FaceCodes.space differs"):
        FaceCodes.cat([codes, codes.replace(space="b")])
    with pytest.raises(StructError, match=r"FaceCodes.detail is given for some items .* None for others"):
        FaceCodes.cat([codes, codes.replace(detail=torch.zeros(1, 8))])
    with pytest.raises(StructError, match="needs at least one item"):
        FaceCodes.cat([])
    with pytest.raises(StructError, match=r"Conditioning.vectors has different names"):
        Conditioning.cat(
            [Conditioning(vectors={"a": torch.zeros(1, 2)}), Conditioning(vectors={"b": torch.zeros(1, 2)})]
        )


def test_repr_tells_shapes_not_numbers():
    text = repr(FaceCodes.zeros(2, n_shape=4, n_tex=3, n_exp=5, space="synthetic1"))
    assert text.startswith("FaceCodes(shape=float32[2, 4], tex=float32[2, 3]")
    assert text.endswith("space='synthetic1')")
    assert "detail" not in text


def test_topology_is_checked_where_it_is_a_struct_of_indices():
    topology = MeshTopology(faces=torch.tensor([[0, 1, 2]]), uvs=torch.zeros(3, 2), uv_faces=torch.tensor([[0, 1, 2]]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        topology.faces = topology.uv_faces


class _Sums(L.LightningModule):
    """Sees the batch as Lightning hands it over."""

    def predict_step(self, batch, batch_idx):
        return batch["codes"].shape.sum(), batch["codes"].batch_size


def test_structs_survive_workers_and_lightning():
    codes = FaceCodes.zeros(5, n_shape=2, n_tex=2, n_exp=2, space="s")
    codes = codes.replace(shape=torch.arange(10.0).reshape(5, 2))
    items = [{"codes": item} for item in codes]
    loader = DataLoader(items, batch_size=2, collate_fn=face_collate, num_workers=1, persistent_workers=True)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    sums, sizes = zip(*trainer.predict(_Sums(), loader), strict=True)
    assert sizes == (2, 2, 1)
    assert sum(sums) == 45
