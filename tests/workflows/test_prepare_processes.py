"""Many processes, killed ones among them: no face is lost, none comes twice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffrig_emo.datasets import CodeStore, StoreLockedError, StoreWriter
from diffrig_emo.datasets.store_parts import parts_folder
from tests.preparing import content, run, write_photos

ROOT = Path(__file__).parents[2]
PREPARING = ROOT / "tests" / "preparing.py"


def python(*arguments):
    command = [sys.executable, "-W", "ignore", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """What `serve` left behind: its folder, and what it printed while it wrote with two ranks and was killed."""
    root = tmp_path_factory.mktemp("served")
    write_photos(root / "few", 7)
    write_photos(root / "many", 30)
    (root / "many" / "torn.png").write_bytes(b"\x89PNG")
    return root, python(PREPARING, "serve", root)


def test_killed_at_random_moments_nothing_is_lost_or_twice(served, tmp_path):
    root, _ = served
    killed = root / "killed" / "faces.h5"
    run(root / "many", tmp_path / "undisturbed.h5", store_images=True)
    assert content(killed) == content(tmp_path / "undisturbed.h5")
    assert CodeStore(killed).skipped.keys() == {"torn.png"}
    assert not parts_folder(killed).exists()


@pytest.mark.parametrize("environment", ["nodes", "torchrun", "slurm"])
def test_many_machines_make_the_same_store_as_one(served, tmp_path, environment):
    root, printed = served
    run(root / "few", tmp_path / "one.h5", store_images=True)
    assert content(root / environment / "faces.h5") == content(tmp_path / "one.h5")
    assert printed.count(f"{environment}/faces.h5: 7 faces") == 1, "only the first process speaks"


def test_two_devices_make_the_same_store_as_one(tmp_path):
    write_photos(tmp_path / "photos", 12)
    (tmp_path / "photos" / "torn.png").write_bytes(b"\x89PNG")
    output = tmp_path / "two" / "faces.h5"
    printed = python(PREPARING, tmp_path / "photos", output)
    run(tmp_path / "photos", tmp_path / "one.h5", store_images=True)
    assert len(content(output)) == 12
    assert content(output) == content(tmp_path / "one.h5")
    assert CodeStore(output).skipped.keys() == {"torn.png"}
    assert printed.count("faces.h5: 12 faces") == 1
    assert not parts_folder(output).exists()


def test_two_processes_do_not_prepare_one_store(tmp_path):
    write_photos(tmp_path / "photos", 2)
    with (
        StoreWriter(tmp_path / "faces.h5", {"encoder": "MeanColours"}),
        pytest.raises(StoreLockedError, match=rf"pid {os.getpid()}\) is writing this store"),
    ):
        run(tmp_path / "photos", tmp_path / "faces.h5")
