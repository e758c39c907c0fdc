import platform
import subprocess
import sys

import pytest

from diffrig_emo.utils import malloc

PROGRAM = """
import resource
import runpy
import sys

keep_freed_memory = runpy.run_path(sys.argv[1])["keep_freed_memory"]

def faults(rounds=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for round_number in range(rounds):
        bytes([round_number]) * 40_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

default = faults()
assert keep_freed_memory()
faults(1)
print(default, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
def test_freed_memory_is_used_again_without_page_faults():
    """In a process of its own, for the setting stays, and without the package, which takes seconds to import."""
    command = [sys.executable, "-c", PROGRAM, malloc.__file__]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    default, kept = map(int, answer.stdout.split())
    assert kept < 0.1 * default
