"""Processes started by fork behave as those of a new interpreter do."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batch_gateway.local.forked import ForkServer
from batch_gateway.local.processes import ChildProcess, ProcessCommand

PROGRAM = """
import json, os, signal, sys, time
print(json.dumps({
    "argv": sys.argv[1:],
    "name": __name__,
    "given": os.environ.get("GIVEN"),
    "inherited": os.environ.get("INHERITED"),
    "cwd": os.getcwd(),
    "session": os.getsid(0) == os.getpid(),
    "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    "preloaded": "colorsys" in sys.modules,
    "later": "chunk" in sys.modules,
}))
print("a word of error", file=sys.stderr)
if "stay" in sys.argv:
    print("stays", flush=True)
    time.sleep(60)
if "fail" in sys.argv:
    raise LookupError("as told")
sys.exit(int(sys.argv[-1]) if sys.argv[-1].isdigit() else 0)
"""


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INHERITED", "of the platform")
    (tmp_path / "program.py").write_text(PROGRAM)
    forks = ForkServer(tmp_path / "server.log", ["colorsys"], ["chunk"])
    yield forks
    await forks.stop()


def command(folder: Path, *words: str) -> ProcessCommand:
    return ProcessCommand(
        name="program",
        argv=[sys.executable, "-m", "program", *words],
        log=folder / "program.log",
        env={"GIVEN": "here", "PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"},
        cwd=folder,
    )


async def told(child: ChildProcess) -> str:
    """What the program wrote first, once it has written it."""
    async with asyncio.timeout(90):
        while "word of error" not in (text := child.command.log.read_text()):
            await asyncio.sleep(0.01)
    return text.splitlines()[0]


async def test_a_forked_program_finds_what_a_new_interpreter_would_have(server, tmp_path):
    forked = await server.start(command(tmp_path, "one", "two"))
    assert await forked.wait() == 0
    by_fork = (tmp_path / "program.log").read_text()
    (tmp_path / "program.log").unlink()

    executed = await ChildProcess.start(command(tmp_path, "one", "two"))
    assert await executed.wait() == 0
    by_exec = (tmp_path / "program.log").read_text()

    by_exec = by_exec.replace('"preloaded": false', '"preloaded": true')
    assert by_fork.replace('"later": true', '"later": false') == by_exec
    assert '"inherited": null' in by_fork
    assert '"session": true' in by_fork


async def test_exit_codes_signals_and_last_words_are_told(server, tmp_path):
    ended = await server.start(command(tmp_path, "7"))
    assert await ended.wait() == 7

    failed = await server.start(command(tmp_path, "fail"))
    assert await failed.wait() == 1
    assert failed.how_it_ended() == "ended with exit code 1: LookupError: as told"

    killed = await server.start(command(tmp_path, "stay"))
    killed.signal(signal.SIGKILL)
    assert await killed.wait() == -signal.SIGKILL
    assert killed.how_it_ended() == "ended by SIGKILL"

    stopped = await server.start(command(tmp_path, "stay"))
    await stopped.stop(grace_s=30)
    assert stopped.how_it_ended() == "ended by SIGTERM"


async def test_ps_names_the_program(server, tmp_path):
    child = await server.start(command(tmp_path, "stay"))
    await told(child)

    words = Path(f"/proc/{child.pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")

    assert words == [b"python", b"-m", b"program", b"stay"]


async def test_programs_end_with_their_server_and_the_next_start_begins_another(server, tmp_path):
    child = await server.start(command(tmp_path, "stay"))
    await told(child)
    parent = int(Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[1])

    os.kill(parent, signal.SIGKILL)

    assert await child.wait() == -signal.SIGKILL
    again = await server.start(command(tmp_path, "3"))
    assert await again.wait() == 3


async def test_many_starts_at_once_each_get_their_own_process(server, tmp_path):
    children = await asyncio.gather(*(server.start(command(tmp_path, str(n))) for n in range(20)))

    assert [await child.wait() for child in children] == list(range(20))
    assert len({child.pid for child in children}) == 20


async def test_the_server_imports_further_modules_while_nothing_is_asked_for(server, tmp_path):
    log = tmp_path / "program.log"
    async with asyncio.timeout(90):
        while True:
            assert await (await server.start(command(tmp_path))).wait() == 0
            if '"later": true' in log.read_text():
                break
            await asyncio.sleep(0.01)


def test_a_forked_function_has_nothing_left_to_import(tmp_path, valkey_url):
    """Each import after the fork would cost its time and its memory in every process again."""
    script = Path(__file__).with_name("imports_of_functions.py")
    environment = {
        **os.environ,
        "BATCH_GATEWAY_METADATA__URL": f"sqlite+aiosqlite:///{tmp_path}/metadata.db",
        "BATCH_GATEWAY_FILES__URL": f"file://{tmp_path}/files",
        "BATCH_GATEWAY_FILES__SCRATCH_DIR": str(tmp_path / "scratch"),
        "BATCH_GATEWAY_SCRATCH__URL": valkey_url,
        "BATCH_GATEWAY_AUTH__KIND": "none",
        "HOST": "127.0.0.1",
    }
    said = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, check=True, text=True
    )

    functions = ("api", "assembler", "executor", "janitor", "notifier", "planner")
    found = json.loads(said.stdout)
    assert found == {name: ["main"] for name in functions}, "local/preloaded.py lacks some"
