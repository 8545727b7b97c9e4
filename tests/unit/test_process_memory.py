"""How much freed memory a function's process keeps."""

import subprocess
import sys

#: Four threads make and free blocks of 8 MiB; prints by how many MiB the process is larger when all
#: are freed.
WORK = """
import sys
from pathlib import Path
from threading import Barrier, Thread

from batch_gateway.web.process_memory import give_back_freed_memory


SIZE = 8 * 1024 * 1024


def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 / 1024


def work():
    for _ in range(3):
        block = b"x" * SIZE
        together.wait()
        del block
    together.wait()
    together.wait()  # until memory is measured


if sys.argv[1] == "given back":
    give_back_freed_memory()
together = Barrier(5)
threads = [Thread(target=work) for _ in range(4)]
before = resident_mib()
for thread in threads:
    thread.start()
for _ in range(4):
    together.wait()
print(resident_mib() - before)
together.wait()
"""


def grown_mib(word: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", WORK, word], capture_output=True, text=True, check=True, timeout=60
    )
    return float(done.stdout)


def test_a_process_gives_back_what_it_has_freed():
    assert grown_mib("given back") < 12 < grown_mib("kept")
