import pickle

import pytest
import torch

from diffrig_emo.io.checkpoints import read_checkpoint


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
