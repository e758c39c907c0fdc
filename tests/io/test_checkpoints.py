from __future__ import annotations

import argparse
import collections
import os
import pickle
import subprocess
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffrig_emo.io.checkpoints import Unread, read_checkpoint, read_weights
from diffrig_emo.io.safe_pickle import RefusedPickleError
from tests.parity.fake_assets import callback_class


class Bomb:
    def __reduce__(self):
        return (print, ("run!",))


def test_round_trip(tmp_path):
    torch.save({"state_dict": {"a": torch.arange(3)}}, tmp_path / "a.ckpt")
    assert read_checkpoint(tmp_path / "a.ckpt")["state_dict"]["a"].tolist() == [0, 1, 2]


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ckpt_path: .*nothing.ckpt does not exist"):
        read_checkpoint(tmp_path / "nothing.ckpt")


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_torn_file_is_named(tmp_path, keep):
    path = tmp_path / "torn.ckpt"
    torch.save({"state_dict": {"a": torch.zeros(1000)}}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"torn.ckpt \(.* bytes\) cannot be read"):
        read_checkpoint(path)


def test_code_in_a_file_is_not_run(tmp_path, capsys):
    (tmp_path / "bomb.ckpt").write_bytes(pickle.dumps({"state_dict": Bomb()}, protocol=2))
    with pytest.raises(ValueError, match="cannot be read"):
        read_checkpoint(tmp_path / "bomb.ckpt")
    assert capsys.readouterr().out == ""


def test_other_files_are_told_apart(tmp_path):
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="without one"):
        read_checkpoint(tmp_path / "other.pt")


class WouldRun:
    """Runs a function of Python when it is unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def weights():
    base = torch.arange(12.0)
    return {"E": collections.OrderedDict(a=base.reshape(3, 4), b=base[2:6]), "lr": [1e-4], "step": 3}


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_round_trip(tmp_path, zipped):
    torch.save(weights(), tmp_path / "a.tar", _use_new_zipfile_serialization=zipped)
    read = read_weights(tmp_path / "a.tar")
    assert torch.equal(read["E"]["a"], weights()["E"]["a"])
    assert torch.equal(read["E"]["b"], weights()["E"]["b"])
    assert (read["lr"], read["step"]) == ([1e-4], 3)


@pytest.mark.parametrize("zipped", [True, False])
def test_objects_of_absent_programs_are_inert(tmp_path, zipped):
    """Lightning 1.4 keys its callbacks by class, and stores all sorts of objects beside the weights."""
    with callback_class() as callback:
        absent = callback()
        absent.state = {"a": 1}
        content = {
            **weights(),
            "callbacks": {callback: {"score": torch.tensor(2.0)}},
            "objects": [absent, WouldRun(callback, 1, 2), Path("a"), argparse.Namespace(a=1), {1, 2}, 1j],
            "parameter": torch.nn.Parameter(torch.ones(2)),
        }
        torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    read = read_weights(tmp_path / "a.ckpt")
    assert torch.equal(read["E"]["b"], weights()["E"]["b"])
    assert torch.equal(read["parameter"], torch.ones(2))
    (key,) = read["callbacks"]
    assert issubclass(key, Unread)
    assert key.__name__ == "ModelCheckpoint"
    assert read["callbacks"][key]["score"] == 2
    assert [isinstance(o, Unread) for o in read["objects"]] == [True, True, True, True, False, True]


def test_mapped_weights_are_not_written_through(tmp_path):
    torch.save(weights(), tmp_path / "a.tar")
    read_weights(tmp_path / "a.tar")["E"]["a"].zero_()
    assert torch.equal(read_weights(tmp_path / "a.tar")["E"]["a"], weights()["E"]["a"])


def test_safetensors(tmp_path):
    save_file({"E.a": torch.ones(3)}, tmp_path / "a.safetensors")
    assert torch.equal(read_weights(tmp_path / "a.safetensors")["E.a"], torch.ones(3))
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-4])
    with pytest.raises(ValueError, match=r"b\.safetensors .* cannot be read as weights"):
        read_weights(tmp_path / "b.safetensors")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("function", "name"),
    [
        (os.system, r"(posix|nt)\.system"),
        (eval, r"builtins\.eval"),
        (getattr, r"builtins\.getattr"),
        (subprocess.getoutput, r"subprocess\.getoutput"),
    ],
)
def test_code_in_weights_is_refused_by_name(tmp_path, function, name, zipped):
    flag = tmp_path / "ran"
    bomb = WouldRun(function, f"touch {flag}" if function is not eval else f"open({str(flag)!r}, 'w')")
    torch.save({**weights(), "x": bomb}, tmp_path / "a.tar", _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        RefusedPickleError, match=rf"a\.tar: refused, because it wants to use {name}, .*download it again"
    ):
        read_weights(tmp_path / "a.tar")
    assert not flag.exists()


def test_code_of_other_libraries_is_not_run(tmp_path):
    """Functions of installed libraries are not found either: whatever they are called with goes nowhere."""
    inner = tmp_path / "inner.pt"
    torch.save({"x": WouldRun(os.system, f"touch {tmp_path / 'ran'}")}, inner)
    torch.save({"x": WouldRun(torch.load, str(inner), None, None)}, tmp_path / "a.tar")
    assert isinstance(read_weights(tmp_path / "a.tar")["x"], Unread)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_weights(tmp_path, zipped):
    torch.save(weights(), tmp_path / "a.tar", _use_new_zipfile_serialization=zipped)
    data = (tmp_path / "a.tar").read_bytes()
    for kept in range(0, len(data) - 8, 97):
        (tmp_path / "b.tar").write_bytes(data[:kept])
        with pytest.raises(ValueError, match=r"b\.tar \([\d,]+ bytes\) cannot be read as weights"):
            read_weights(tmp_path / "b.tar")


def test_a_real_tar_archive_is_refused(tmp_path):
    """What becomes of `deca_model.tar` when someone unpacks and packs it."""
    (tmp_path / "data.pkl").write_bytes(b"x")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "data.pkl", "pickle")
    with pytest.raises(ValueError, match=r"a\.tar .* cannot be read as weights"):
        read_weights(tmp_path / "a.tar")


def test_no_dictionary(tmp_path):
    torch.save([torch.zeros(1)], tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt: expected a dictionary of weights, got list"):
        read_weights(tmp_path / "a.pt")


def test_no_weights_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"a\.pt: expected a file of weights"):
        read_weights(tmp_path / "a.pt")
