import csv
import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from diffrig_emo.datasets import CodeStore, StoreLockedError, StoreWriter, merge
from diffrig_emo.datasets.store_parts import parts_folder

PROVENANCE = {"encoder": "random"}
JPEG = b"\xff\xd8\xff"


def write(path, codes, numbers, rank=0, flush_every=3, provenance=PROVENANCE):
    with StoreWriter(path, provenance, rank=rank, flush_every=flush_every) as writer:
        for number in numbers:
            if f"{number:03d}" not in writer:
                writer.add(f"{number:03d}", codes=codes(number), image=JPEG + bytes([number]) * 50, label=number % 8)


def test_kill_in_the_middle_loses_nothing_and_repeats_nothing(tmp_path, codes, content):
    """A process is killed between two parts; another one is refused before and goes on after."""
    path = tmp_path / "faces.h5"
    script = """
        import sys, time
        sys.path.insert(0, sys.argv[2])
        from conftest import _codes
        from test_store_parts import JPEG
        from diffrig_emo.datasets import StoreWriter
        with StoreWriter(sys.argv[1], {"encoder": "random"}, flush_every=3) as writer:
            for number in range(20):
                writer.add(f"{number:03d}", codes=_codes(number), image=JPEG + bytes([number]) * 50, label=number % 8)
                if number == 10:
                    print("ready", flush=True)
                    time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) as process:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(StoreLockedError, match=rf"pid {process.pid} on .* is writing this store"):
            StoreWriter(path, PROVENANCE)
        with pytest.raises(StoreLockedError, match=f"pid {process.pid}"):
            merge(path)
        process.send_signal(signal.SIGKILL)
    assert len(list(parts_folder(path).glob("rank*.h5"))) == 3
    with StoreWriter(path, PROVENANCE) as writer:
        assert [f"{n:03d}" in writer for n in (0, 8, 9, 10, 11)] == [True, True, False, False, False]
    write(path, codes, range(20))
    assert merge(path) == 20

    write(tmp_path / "undisturbed.h5", codes, range(20), flush_every=100)
    merge(tmp_path / "undisturbed.h5")
    assert content(path) == content(tmp_path / "undisturbed.h5")
    assert not parts_folder(path).exists()


def test_a_failure_keeps_what_was_complete(tmp_path, codes):
    def fail():
        with StoreWriter(tmp_path / "faces.h5", PROVENANCE) as writer:
            writer.add("a", codes=codes(0))
            raise RuntimeError("the encoder broke")

    with pytest.raises(RuntimeError, match="broke"):
        fail()
    with StoreWriter(tmp_path / "faces.h5", PROVENANCE) as writer:
        assert "a" in writer


def test_many_processes_give_the_same_store_as_one(tmp_path, codes, content):
    many, one = tmp_path / "many.h5", tmp_path / "one.h5"
    for rank in (2, 0, 1):
        write(many, codes, range(rank, 21, 3), rank)
    write(many, codes, range(4), rank=7)  # a sampler that gives faces twice to even out its ranks
    write(one, codes, range(21), flush_every=100)
    assert merge(many) == merge(one) == 21
    assert content(many) == content(one)


def test_new_faces_follow_the_old_ones(tmp_path, codes):
    path = tmp_path / "faces.h5"
    write(path, codes, (5, 3))
    merge(path)
    write(path, codes, (9, 1, 3))
    assert merge(path) == 4
    assert [note["key"] for note in CodeStore(path).notes()] == ["003", "005", "001", "009"]
    assert torch.equal(CodeStore(path).codes([3]).exp, codes(9).exp)


def test_other_stores_are_taken_in(tmp_path, codes):
    write(tmp_path / "a.h5", codes, range(3))
    write(tmp_path / "b.h5", codes, range(2, 5))
    merge(tmp_path / "a.h5")
    merge(tmp_path / "b.h5")
    assert merge(tmp_path / "both.h5", [tmp_path / "a.h5", tmp_path / "b.h5"], mean_shape=torch.ones(4)) == 5
    store = CodeStore(tmp_path / "both.h5")
    assert torch.equal(store.codes().exp, torch.cat([codes(n).exp for n in range(5)]))
    assert store.mean_shape.tolist() == [1, 1, 1, 1]
    with pytest.raises(FileNotFoundError, match=r"missing.h5: no such code store"):
        merge(tmp_path / "both.h5", [tmp_path / "missing.h5"])


def test_a_merge_that_was_killed_is_done_again(tmp_path, codes, content):
    path = tmp_path / "faces.h5"
    write(path, codes, range(7))
    shutil.copytree(parts_folder(path), tmp_path / "kept")
    merge(path)
    complete = content(path)
    # Killed after the store appeared, before its parts went; a half-written merge lies about, too.
    shutil.copytree(tmp_path / "kept", parts_folder(path))
    (parts_folder(path) / "merged.h5").write_bytes(b"half")
    (parts_folder(path) / ".rank00000-000003-abcdef.h5").write_bytes(b"half")
    write(path, codes, range(7))
    assert merge(path) == 7
    assert content(path) == complete
    assert not parts_folder(path).exists()
    assert merge(path) == 7


def test_what_was_skipped_is_listed_and_tried_again_later(tmp_path, codes):
    path = tmp_path / "faces.h5"
    with StoreWriter(path, PROVENANCE) as writer:
        writer.add("a", codes=codes(0))
        writer.skip("b", "no face, at all")
        writer.skip("c", "truncated")
    with StoreWriter(path, PROVENANCE) as writer:
        assert "b" in writer, "within an interrupted run"
    merge(path)
    assert list(csv.reader((tmp_path / "skipped.csv").read_text().splitlines())) == [
        ["key", "reason"],
        ["b", "no face, at all"],
        ["c", "truncated"],
    ]
    with StoreWriter(path, PROVENANCE) as writer:
        assert "b" not in writer, "a new run"
        writer.add("b", codes=codes(1))
        writer.skip("c", "truncated")
    merge(path)
    assert CodeStore(path).skipped == {"c": "truncated"}
    assert len(CodeStore(path)) == 2
    modified = path.stat().st_mtime_ns
    with StoreWriter(path, PROVENANCE) as writer:
        writer.skip("c", "truncated")
    merge(path)
    assert path.stat().st_mtime_ns == modified, "nothing new, nothing written"


def test_a_store_of_skipped_photos_only(tmp_path):
    with StoreWriter(tmp_path / "faces.h5", PROVENANCE) as writer:
        writer.skip("a", "no face")
    assert merge(tmp_path / "faces.h5") == 0
    assert len(CodeStore(tmp_path / "faces.h5")) == 0
    assert CodeStore(tmp_path / "faces.h5").column("label").shape == (0,)


def test_a_full_disk_is_one_error_and_costs_nothing(tmp_path, codes, monkeypatch):
    path = tmp_path / "faces.h5"
    pwrite, written = os.pwrite, []

    def full(descriptor, data, offset):
        if len(data) > 40:  # locks may be written
            written.append(len(data))
            if len(written) > 4:
                raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match=r"no room on the disk .*run the same command again") as e:
        write(path, codes, range(9))
    assert e.value.errno == errno.ENOSPC
    assert len(list(parts_folder(path).iterdir())) == 1, "the complete part, and nothing half-written"
    monkeypatch.setattr(os, "pwrite", pwrite)
    write(path, codes, range(9))

    written.clear()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="no room on the disk"):
        merge(path)
    assert not path.exists()
    monkeypatch.setattr(os, "pwrite", pwrite)
    assert merge(path) == 9


def test_no_room_is_noticed_before_writing(tmp_path, codes, monkeypatch):
    write(tmp_path / "faces.h5", codes, range(3))
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match=r"it needs 1 MiB, 0 MiB are free"):
        merge(tmp_path / "faces.h5")
    assert not (tmp_path / "faces.h5").exists()


@pytest.mark.parametrize("limit", [100, 1000, 5000, 50_000])
def test_a_limit_of_the_file_size_is_one_error(tmp_path, codes, limit):
    """The system itself refuses, in the middle of HDF5's own writing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with StoreWriter(tmp_path / "faces.h5", PROVENANCE) as writer:
        writer.add("a", codes=codes(0), image=JPEG + b"x" * 100_000)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match="no room on the disk"):
                writer.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert merge(tmp_path / "faces.h5") == 1


def test_other_settings_do_not_continue_a_run(tmp_path, codes):
    write(tmp_path / "faces.h5", codes, range(3))
    with pytest.raises(ValueError, match="an interrupted run wrote part of it with encoder = 'random', not 'DECA'"):
        write(tmp_path / "faces.h5", codes, range(3), provenance={"encoder": "DECA"})
    merge(tmp_path / "faces.h5")
    write(tmp_path / "faces.h5", codes, range(5), provenance={"encoder": "DECA"})
    with pytest.raises(ValueError, match=r'codes of different encoders .* "DECA", "random"'):
        merge(tmp_path / "faces.h5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c(1).replace(space="other"), r"expected space 'small' .* got 'other'"),
        (lambda c: c(1, n_exp=3), r"'exp': \(2,\).* got 'small' with .*'exp': \(3,\)"),
        (lambda c: c(1).replace(detail=torch.zeros(1, 5)), r"got 'small' with .*'detail'"),
        (lambda c: c(1).replace(cam=torch.full((1, 3), torch.nan)), r"cam: expected finite"),
        (lambda c: type(c(1)).cat([c(1), c(2)]), r"codes of 'b': expected a batch of 1, got 2"),
    ],
)
def test_codes_unlike_the_others_are_refused(tmp_path, codes, change, message):
    with StoreWriter(tmp_path / "faces.h5", PROVENANCE) as writer:
        writer.add("a", codes=codes(0))
        with pytest.raises(ValueError, match=message):
            writer.add("b", codes=change(codes))
        with pytest.raises(ValueError, match="image of 'b': expected JPEG or PNG, got bytes that begin with b'GIF8'"):
            writer.add("b", image=b"GIF89a")
    assert merge(tmp_path / "faces.h5") == 1


def test_spaces_do_not_mix(tmp_path, codes):
    write(tmp_path / "a.h5", codes, range(2))
    with StoreWriter(tmp_path / "b.h5", PROVENANCE) as writer:
        writer.add("z", codes=codes(0).replace(space="other"))
    merge(tmp_path / "a.h5")
    merge(tmp_path / "b.h5")
    with pytest.raises(ValueError, match=r"different spaces .*'small' in .*a.h5, 'other' in .*b.h5"):
        merge(tmp_path / "a.h5", [tmp_path / "b.h5"])


def test_one_writer_at_a_time(tmp_path):
    path = tmp_path / "faces.h5"
    with StoreWriter(path, PROVENANCE):
        with pytest.raises(StoreLockedError, match="this process"):
            StoreWriter(path, PROVENANCE)
        with StoreWriter(path, PROVENANCE, rank=1):
            pass
    with StoreWriter(path, PROVENANCE):
        pass


def test_owners_on_other_hosts_are_believed_while_they_show_life(tmp_path):
    path = tmp_path / "faces.h5"
    parts_folder(path).mkdir()
    lock = parts_folder(path) / "rank00000.lock"
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 4, "since": "yesterday"}))
    with pytest.raises(StoreLockedError, match=rf"pid 4 on elsewhere, since yesterday, .* delete {lock}"):
        StoreWriter(path, PROVENANCE)
    os.utime(lock, (time.time() - 3600, time.time() - 3600))
    with StoreWriter(path, PROVENANCE):
        assert json.loads(lock.read_text())["pid"] == os.getpid()
    lock.write_text('{"ho')
    with StoreWriter(path, PROVENANCE):
        pass


def test_nothing_to_merge_and_other_files_in_the_way(tmp_path):
    with pytest.raises(ValueError, match="nothing to merge"):
        merge(tmp_path / "faces.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(ValueError, match="expected a complete code store"):
        StoreWriter(tmp_path / "text.h5", PROVENANCE)
    with pytest.raises(ValueError, match="flush_every"):
        StoreWriter(tmp_path / "faces.h5", PROVENANCE, flush_every=0)


def test_progress_of_a_merge(tmp_path, codes):
    write(tmp_path / "faces.h5", codes, range(7))
    seen = []
    merge(tmp_path / "faces.h5", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (7, 7)
