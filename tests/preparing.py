"""Small stand-ins for `prepare`: an encoder, a detector, photos; and runs in processes of their own."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import time
import traceback
from pathlib import Path

import torch

import diffrig_emo.workflows.prepare as module
from diffrig_emo.datasets import CodeStore
from diffrig_emo.datasets.detectors import DetectedFaces, FaceDetector
from diffrig_emo.io.images import write_image
from diffrig_emo.morphable.base import MorphableEncoder
from diffrig_emo.structures import FaceCodes


class MeanColours(MorphableEncoder):
    """Calls the mean colour of a crop its shape: codes that tell one photo from another."""

    space = "colours"
    image_size = 32

    def forward(self, crop):
        zeros = FaceCodes.zeros(crop.batch_size, n_shape=3, n_tex=1, n_exp=1, space=self.space)
        return zeros.replace(shape=crop.image.mean(dim=(2, 3)), tform=crop.tform)


class Middle(FaceDetector):
    """Sees a face in the middle of everything."""

    def __call__(self, photo):
        height, width = photo.shape[1:]
        box = torch.tensor([[0.2 * width, 0.2 * height, 0.8 * width, 0.8 * height]])
        return DetectedFaces(box, torch.tensor([0.9]), "bbox")


def write_photos(folder, count, size=48, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for number in range(count):
        photo = torch.rand(3, 1, 1, generator=generator).expand(-1, size, size)
        write_image(folder / "abc"[number % 3] / f"{number:03d}.png", photo)


def run(folder, output, **settings):
    module.prepare(
        folder,
        output,
        **{"encoder": MeanColours(), "detector": Middle(), "image_size": 32, "num_workers": 0, **settings},
    )


def content(path):
    """All of a store by key."""
    store = CodeStore(path)
    columns = {name: store.column(name) for name in store.columns}
    found = {
        note["key"]: (json.dumps(note), store.image_bytes(i), *(columns[name][i].tobytes() for name in store.columns))
        for i, note in enumerate(store.notes())
    }
    assert len(found) == len(store), "a face is stored twice"
    return found


def serve(root):
    """Run in a process of its own, where forking is safe, because no thread has started yet."""
    torch.set_num_threads(1)
    module._FLUSH_EVERY = 2
    for environment in ("nodes", "torchrun", "slurm"):
        _two_ranks(Path(root) / "few", Path(root) / environment / "faces.h5", environment)
    _kill_at_random(Path(root) / "many", Path(root) / "killed" / "faces.h5")


def _fork(**environment):
    pid = os.fork()
    os.environ.update(environment if pid == 0 else {})
    return pid


def _child(folder, output, **settings):
    """The rest of a forked process."""
    try:
        run(folder, output, store_images=True, batch_size=2, **settings)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.stdout.flush()
    os._exit(0)


def _kill_at_random(folder, output):
    moments = random.Random(0)
    longest = 0.8
    for _ in range(10):
        pid = _fork()
        if pid == 0:
            _child(folder, output, num_workers=1)
        started = time.monotonic()
        wait = moments.uniform(0, longest)
        while time.monotonic() - started < wait and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.002)
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):  # done before
            longest = min(longest, time.monotonic() - started)
        if output.exists():
            content(output)
    pid = _fork()
    if pid == 0:
        _child(folder, output, num_workers=1)
    assert os.waitpid(pid, 0)[1] == 0


def _two_ranks(folder, output, environment):
    """Two processes, as they are told of each other by hand on two machines, by torchrun, or by SLURM."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    pids = []
    for rank in range(2):
        own, settings = {
            "nodes": ({"NODE_RANK": str(rank), "LOCAL_RANK": "0"}, {"num_nodes": 2}),
            "torchrun": (
                {
                    "RANK": str(rank),
                    "LOCAL_RANK": str(rank),
                    "GROUP_RANK": "0",
                    "WORLD_SIZE": "2",
                    "LOCAL_WORLD_SIZE": "2",
                    "TORCHELASTIC_RUN_ID": "none",
                },
                {"devices": 2},
            ),
            "slurm": (
                {
                    "SLURM_JOB_ID": "7",
                    "SLURM_JOB_NAME": "prepare",
                    "SLURM_NTASKS": "2",
                    "SLURM_NTASKS_PER_NODE": "2",
                    "SLURM_NNODES": "1",
                    "SLURM_PROCID": str(rank),
                    "SLURM_LOCALID": str(rank),
                    "SLURM_NODEID": "0",
                    "SLURM_NODELIST": "localhost",
                },
                {"devices": 2},
            ),
        }[environment]
        pids.append(_fork(**shared, **own))
        if pids[-1] == 0:
            _child(folder, output, **settings)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0, 0], environment


if __name__ == "__main__":  # by its path: a library may bring a package of the name `tests`
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:  # `devices=2` starts this again for the second process
        torch.set_num_threads(1)
        run(Path(sys.argv[1]), Path(sys.argv[2]), store_images=True, batch_size=2, devices=2)
