import gc
import io
import os
import pickle
from collections import OrderedDict

import pytest
import torch
from torch.utils.data import DataLoader

from diffrig_emo.datasets import DiffusionRigLMDB
from diffrig_emo.io.safe_pickle import RefusedPickleError
from diffrig_emo.structures import face_collate

lmdb = pytest.importorskip("lmdb")


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("bomb",))


@pytest.fixture
def cache(tmp_path, grey_png):
    """Four records, as the original writes them: one transaction each, tensors pickled, the length last."""
    folder = tmp_path / "lmdb"
    environment = lmdb.open(str(folder), map_size=2**30)
    for number in range(4):
        with environment.begin(write=True) as transaction:
            transaction.put(f"image_{number:06d}".encode(), grey_png(number))
            for offset, name in enumerate(("rendered", "normal", "albedo")):
                tensor = torch.full((3, 8, 8), number + offset / 10)
                tensor[:, :, 0] = 0
                transaction.put(f"{name}_{number:06d}".encode(), pickle.dumps(tensor))
    with environment.begin(write=True) as transaction:
        transaction.put(b"length", b"4")
    environment.close()
    return folder


def put(folder, **records):
    environment = lmdb.open(str(folder), map_size=2**30)
    with environment.begin(write=True) as transaction:
        for key, value in records.items():
            if value is None:
                transaction.delete(key.encode())
            else:
                transaction.put(key.encode(), value)
    environment.close()


def test_pictures(cache):
    dataset = DiffusionRigLMDB(cache)
    assert len(dataset) == 4
    item = dataset[-1]
    assert (item["image"][:, 4, 4] * 255).tolist() == [3, 3, 3]
    assert (item["image"][:, 0, 0] * 255).round().tolist() == [3, 2, 1]  # OpenCV wrote BGR
    assert (item["path"], item["source"], int(item["index"])) == ("image_000003", "lmdb", 3)
    assert "buffers" not in item
    assert dataset.mean_shape() is None
    with pytest.raises(IndexError, match="face 4"):
        dataset[4]


@pytest.mark.parametrize("workers", [0, 2])
def test_buffers_from_workers(cache, workers):
    dataset = DiffusionRigLMDB(cache, with_buffers=True)
    second = DiffusionRigLMDB(cache)  # of the same folder, at the same time
    assert len(second) == 4
    (batch,) = DataLoader(dataset, batch_size=4, num_workers=workers, collate_fn=face_collate)
    buffers = batch["buffers"]
    assert buffers.batch_size == 4
    assert buffers.rendered[2, :, 3, 3].tolist() == [2, 2, 2]
    assert buffers.normal[2, 0, 3, 3] == pytest.approx(2.1)
    assert buffers.albedo[2, 0, 3, 3] == pytest.approx(2.2)
    assert buffers.mask[2, 0, 0].tolist() == [0, 1, 1, 1, 1, 1, 1, 1]


def test_a_copy_in_another_process_opens_the_folder_itself(cache):
    dataset = DiffusionRigLMDB(cache)
    dataset[0]
    copy = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(copy[1]["image"], dataset[1]["image"])


def test_a_view_does_not_keep_its_batch_alive(cache):
    batch = torch.rand(8, 3, 8, 8)
    put(cache, rendered_000001=pickle.dumps(batch[5]))
    rendered = DiffusionRigLMDB(cache).buffers(1).rendered
    assert torch.equal(rendered[0], batch[5])
    assert rendered.untyped_storage().nbytes() == 3 * 8 * 8 * 4


class OnGpu:
    """Pickles as a tensor on the first GPU does, which is how the original leaves its mean shape."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        arguments = (OnGpuStorage(self.tensor), 0, tuple(self.tensor.shape), self.tensor.stride(), False, OrderedDict())
        return torch._utils._rebuild_tensor_v2, arguments


class OnGpuStorage(OnGpu):
    def __reduce__(self):
        stream = io.BytesIO()
        torch.save(self.tensor._typed_storage(), stream, _use_new_zipfile_serialization=False)
        data = stream.getvalue().replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
        assert b"cuda:0" in data
        return torch.storage._load_from_bytes, (data,)


@pytest.mark.parametrize("kind", [lambda tensor: tensor, OnGpu])
def test_mean_shape(cache, kind):
    shape = torch.rand(1, 100)
    (cache / "mean_shape.pkl").write_bytes(pickle.dumps(kind(shape)))
    assert torch.equal(DiffusionRigLMDB(cache).mean_shape(), shape[0])


def test_a_wrong_mean_shape_is_named(cache):
    (cache / "mean_shape.pkl").write_bytes(pickle.dumps(torch.zeros(2, 100)))
    with pytest.raises(ValueError, match=r"mean_shape.pkl: expected one shape code.* got \(2, 100\)"):
        DiffusionRigLMDB(cache).mean_shape()


def test_code_in_a_record_is_refused_by_name(cache, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    put(cache, normal_000002=pickle.dumps(Bomb()))
    (cache / "mean_shape.pkl").write_bytes(pickle.dumps(Bomb()))
    dataset = DiffusionRigLMDB(cache, with_buffers=True)
    with pytest.raises(RefusedPickleError, match=r"record normal_000002: refused, .*mkdir"):
        dataset[2]
    with pytest.raises(RefusedPickleError, match=r"mean_shape.pkl: refused, .*mkdir"):
        dataset.mean_shape()
    assert not (tmp_path / "bomb").exists()


@pytest.mark.parametrize(
    ("record", "value", "message"),
    [
        ("image_000001", None, r"expected a record image_000001, got none"),
        ("image_000001", b"", r"record image_000001: expected a complete picture"),
        ("image_000001", b"\x89PNG\r\n\x1a\n", r"record image_000001: expected a complete picture"),
        ("albedo_000001", pickle.dumps(torch.zeros(3, 8, 8))[:-200], r"record albedo_000001: .* truncated"),
        ("albedo_000001", pickle.dumps({"a": 1}), r"expected a float tensor \(3, height, width\), got dict"),
        ("albedo_000001", pickle.dumps(torch.zeros(8)), r"got torch.float32 \(8,\)"),
    ],
)
def test_damaged_records_are_named(cache, record, value, message):
    put(cache, **{record: value})
    dataset = DiffusionRigLMDB(cache, with_buffers=True)
    with pytest.raises(ValueError, match=message):
        dataset[1]
    dataset[2]


def test_a_cache_that_was_never_completed_is_read_as_far_as_it_goes(cache):
    put(cache, length=None, rendered_000003=None)
    assert len(DiffusionRigLMDB(cache)) == 4


def test_other_folders_are_named(tmp_path, cache):
    with pytest.raises(FileNotFoundError, match=r"nothing: expected a folder with an LMDB data base, `data.mdb`"):
        DiffusionRigLMDB(tmp_path / "nothing")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "data.mdb").write_bytes(b"hello" * 2000)
    with pytest.raises(ValueError, match=r"data.mdb: cannot be opened as an LMDB data base"):
        DiffusionRigLMDB(tmp_path / "text")
    put(tmp_path / "other", key=b"value")
    with pytest.raises(ValueError, match=r"a data base without `image_\*` records"):
        DiffusionRigLMDB(tmp_path / "other")


@pytest.mark.parametrize("keep", [0.3, 0.8, 0.999])
def test_a_truncated_data_base_is_refused_instead_of_killing_the_process(cache, keep):
    data = (cache / "data.mdb").read_bytes()
    (cache / "data.mdb").write_bytes(data[: int(keep * len(data))])
    with pytest.raises(ValueError, match=r"data.mdb: .* truncated; copy it again"):
        DiffusionRigLMDB(cache)


def test_a_folder_is_closed_with_its_last_dataset(cache, grey_png):
    dataset = DiffusionRigLMDB(cache)
    dataset[0]
    del dataset
    gc.collect()
    put(cache, image_000000=grey_png(77))  # LMDB would refuse to open it a second time
    assert (DiffusionRigLMDB(cache)[0]["image"][0, 4, 4] * 255).round() == 77
